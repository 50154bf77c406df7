"""The files that Hornet reads when it starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from learnae_iota.devnet.keys import SECURITY_LEVEL, Keys
from learnae_iota.devnet.ports import LOOPBACK, Ports

WEIGHT_MAGNITUDE = 1  # of the proof of work: nobody floods a private tangle, and small devices take part
ALL_MONEY = 2779530283277761  # Hornet refuses a ledger that does not hold it
RECONNECT_SECONDS = 1
CALLS = [
    "addNeighbors",
    "attachToTangle",
    "broadcastTransactions",
    "checkConsistency",
    "findTransactions",
    "getNeighbors",
    "getNodeAPIConfiguration",
    "getNodeInfo",
    "getTipInfo",
    "getTransactionsToApprove",
    "getTrytes",
    "removeNeighbors",
    "storeTransactions",
]


def write_settings(
    folder: Path, keys: Keys, ports: Ports, calls: Iterable[Ports], *, issues: bool, milestone_seconds: int, options: Mapping[str, Any]
) -> None:
    """For one node, which calls these peers and is called by any; `options` holds tables of Hornet's config.json that replace ours.

    Two Hornets that call each other at the same moment may both give up, and not try again for minutes.
    """
    config = _config(keys, ports, issues=issues, milestone_seconds=milestone_seconds)
    for table, values in options.items():
        config[table] = {**config.get(table, {}), **values}
    identities = [f"{LOOPBACK}:{peer.gossip}" for peer in calls]
    statics = [{"identity": identity, "alias": identity, "preferIPv6": False} for identity in identities]
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "peering.json").write_text(json.dumps({"acceptAnyConnection": True, "maxPeers": 100, "peers": statics}))
    (folder / "profiles.json").write_text("{}")
    (folder / "snapshot.csv").write_text(f"{keys.address};{ALL_MONEY}\n")


def _config(keys: Keys, ports: Ports, *, issues: bool, milestone_seconds: int) -> dict[str, Any]:
    return {
        "useProfile": "light",
        "httpAPI": {"bindAddress": f"{LOOPBACK}:{ports.api}", "permitRemoteAccess": CALLS},
        "network": {"gossip": {"bindAddress": f"{LOOPBACK}:{ports.gossip}", "reconnectAttemptIntervalSeconds": RECONNECT_SECONDS}},
        "zmq": {"bindAddress": f"{LOOPBACK}:{ports.feed}"},
        "db": {"path": "database"},
        "snapshots": {
            "loadType": "global",
            "global": {"path": "snapshot.csv", "index": 0, "spentAddressesPaths": []},
            "local": {"path": "database/export.bin"},
        },
        "coordinator": {
            "address": keys.address,
            "securityLevel": SECURITY_LEVEL,
            "merkleTreeDepth": keys.depth,
            "merkleTreeFilePath": str(keys.tree),
            "mwm": WEIGHT_MAGNITUDE,
            "stateFilePath": "database/coordinator.state",
            "intervalSeconds": milestone_seconds,
        },
        "node": {
            "disablePlugins": ["autopeering", "dashboard", "mqtt", "profiling", "prometheus", "warpsync"],
            "enablePlugins": ["zmq", *(["coordinator"] if issues else [])],
        },
    }
