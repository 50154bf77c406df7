"""The facts about a home, ready for JSON: what `learnae status` and the dashboard show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.home_state import HomeState, bytes_in, kept_facts, own_slices, read_home
from learnae.cli.homes import is_of_sensor
from learnae.cli.sensor_home import sensor_facts
from learnae.node.connections import read_connections
from learnae.node.history_reader import PastRound
from learnae.observations import MOST_METRICS
from learnae.records import PeerId

HOUR = 3600.0
LOOKED_AT = 128  # verdicts: a round tells of 64 slices at most


def facts(home: Path, *, most: int) -> dict[str, Any]:
    """All facts about one home, ready for JSON. Times are seconds since 1970. Unknown values are null."""
    if is_of_sensor(home):
        return sensor_facts(home)
    with read_home(home) as seen:
        return facts_of(seen, most)


def facts_of(seen: HomeState, most: int) -> dict[str, Any]:
    """Of a home that is open."""
    rounds = seen.history.reader.past_rounds(1)
    return {
        "home": str(seen.home),
        "at": seen.now,
        "running": seen.processes.running,
        "trainer_pid": seen.processes.trainer,
        "node_pid": seen.processes.node,
        "peer": seen.own,
        "role": seen.peer.role,
        "swarm": seen.swarm.name if seen.swarm else None,
        "private": bool(seen.swarm.key_env or seen.swarm.key_file) if seen.swarm else None,
        "weights_only": seen.swarm.weights_only if seen.swarm else None,
        **_where_it_stands(seen, rounds[0] if rounds else None),
        "bytes": _bytes(seen),
        "kept": kept_facts(seen),
        "own_slices": own_slices(seen.home),
        "disk": _disk_facts(seen),
        "updates": {name: seen.history.reader.totals().get(name, 0) for name in ("merged", "refused", "failed", "lost")},
        "refused_messages": dict(sorted(seen.history.counts().items(), key=lambda item: -item[1])),
        "denied": sorted({*seen.denied, *seen.peer.deny}),
        "rejoin": _rejoin(seen),
        "evaluation": _evaluation(seen),
        **_connection_facts(seen),
        **_peer_facts(seen, most),
    }


def _where_it_stands(seen: HomeState, last: PastRound | None) -> dict[str, Any]:
    lineage_state = seen.lineage_state
    provisional = lineage_state.provisional(seen.now) if lineage_state.lineage else None
    return {
        "lineage": lineage_state.lineage.hex() or None,
        "age": last.age if last else None,
        "provisional": provisional,
        "young": provisional,  # the name before, until 0.2
        "last_lineage": last.lineage.hex() if last and last.lineage else None,
        "rounds": last.round if last else 0,
        "last_round": _round(last) if last else None,
        "splits": [lineage.hex() for lineage in last.splits] if last else [],
    }


def _round(last: PastRound) -> dict[str, Any]:
    counts = ("heard", "chosen", "merged", "refused", "failed", "lost")
    shown = ("at", "seconds", "outcome", *counts, "published", "published_bytes", "fetched_bytes")
    return {name: getattr(last, name) for name in shown}


def _bytes(seen: HomeState) -> dict[str, int]:
    totals, (published, fetched) = seen.history.reader.totals(), seen.history.reader.bytes_since(seen.now - HOUR)
    return {
        "published": totals.get("published_bytes", 0),
        "fetched": totals.get("fetched_bytes", 0),
        "published_last_hour": published,
        "fetched_last_hour": fetched,
    }


def _disk_facts(seen: HomeState) -> dict[str, int]:
    """What is on the disk. `home_bytes` is the size of the home. Own updates may lie in a storage elsewhere."""
    kept = seen.history.published()
    return {
        "home_bytes": bytes_in(seen.home),
        "own_updates": len(kept),
        "own_updates_bytes": sum(item.bytes for item in kept),
        "quota_bytes": seen.peer.quota_bytes,
    }


def _rejoin(seen: HomeState) -> dict[str, Any] | None:
    order = seen.history.orders.last_rejoin()
    return None if order is None else {"lineage": order.lineage.hex() if order.lineage else None, "at": order.at, "outcome": order.outcome}


def _evaluation(seen: HomeState) -> dict[str, Any] | None:
    """What the trainer has last measured on test data."""
    last = seen.history.reader.evaluations(MOST_METRICS)
    return attrs.asdict(last[0]) if last else None


def _connection_facts(seen: HomeState) -> dict[str, Any]:
    """What the node of a running peer has last written of its connections; nothing of one that does not run."""
    state = read_connections(seen.home) if seen.processes.node is not None else None
    return {
        "addresses": list(state.addresses) if state else [],
        "connected": state.connected if state else 0,
        "connections_known": state.known if state else 0,
        "connections_at": state.at if state else None,
        "connections": [attrs.asdict(one) for one in state.connections] if state else [],
    }


def _peer_facts(seen: HomeState, most: int) -> dict[str, Any]:
    """The peers that this one knows. Those heard last come first."""
    known = dict.fromkeys([*seen.sightings, *seen.denied, *seen.records])
    return {"peers_known": len(known), "peers": [_peer_fact(seen, peer) for peer in list(known)[:most]]}


def _peer_fact(seen: HomeState, peer: PeerId) -> dict[str, Any]:
    sighting, record = seen.sightings.get(peer), seen.records.get(peer)
    return {
        "peer": peer,
        "heard_at": sighting.at if sighting else None,
        "live": bool(sighting and sighting.live),
        "lineage": sighting.lineage.hex() if sighting and sighting.lineage else None,
        "age": sighting.age if sighting else None,
        "provisional": sighting.provisional if sighting else None,
        "young": sighting.provisional if sighting else None,  # the name before, until 0.2
        "failures": record.failures if record else 0,
        "ever_accepted": bool(record and record.ever_accepted),
        "trust": record.trust if record else 0.0,
        "bytes_per_second": record.bytes_per_second if record else None,
        "shut_out": seen.shut_out(peer),
        "last_verdict": _last_verdict(seen, peer),
    }


def _last_verdict(seen: HomeState, peer: PeerId) -> Mapping[str, Any] | None:
    """Of an update: what became of slices of rows says nothing of the peer's model."""
    verdicts = seen.history.reader.verdicts(peer=peer, limit=LOOKED_AT)
    return next((attrs.asdict(verdict) for verdict in verdicts if verdict.stage != "slice"), None)
