"""What `learnae status` knows, as plain data: these keys are for programs, and stay (docs/watching.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.homes.find import last_used
from learnae.cli.homes.processes import processes_of
from learnae.cli.homes.size import bytes_in
from learnae.cli.homes.state import HomeState, read_home
from learnae.errors import LearnaeError
from learnae.node.insight import PastRound
from learnae.records import PeerId

HOUR = 3600.0


def brief(home: Path) -> dict[str, Any]:
    """One of several homes, in a line; one that cannot be read hides none of the others."""
    about: dict[str, Any] = {
        "home": str(home),
        "running": processes_of(home).running,
        "swarm": None,
        "rounds": 0,
        "used_at": last_used(home),
    }
    try:
        with read_home(home) as seen:
            swarm = seen.swarm.name if seen.swarm else None
            return {**about, "swarm": swarm, "rounds": seen.history.last_round(), "error": None}
    except LearnaeError as error:
        return {**about, "error": str(error)}


def facts(home: Path, *, most: int) -> dict[str, Any]:
    """JSON-ready; moments are seconds since 1970, what is not known is null."""
    with read_home(home) as seen:
        rounds = seen.history.past_rounds(1)
        return {
            "home": str(home),
            "at": seen.now,
            "running": seen.processes.running,
            "trainer_pid": seen.processes.trainer,
            "node_pid": seen.processes.node,
            "peer": seen.own,
            "swarm": seen.swarm.name if seen.swarm else None,
            "private": bool(seen.swarm.key_env or seen.swarm.key_file) if seen.swarm else None,
            **_where_it_stands(seen, rounds[0] if rounds else None),
            "bytes": _bytes(seen),
            "disk": _disk(seen),
            "updates": {name: seen.history.totals().get(name, 0) for name in ("merged", "refused", "failed", "lost")},
            "refused_messages": dict(sorted(seen.history.counts().items(), key=lambda item: -item[1])),
            "denied": sorted({*seen.denied, *seen.peer.deny}),
            "rejoin": _rejoin(seen),
            **_peers(seen, most),
        }


def _where_it_stands(seen: HomeState, last: PastRound | None) -> dict[str, Any]:
    standing = seen.standing
    return {
        "lineage": standing.lineage.hex() or None,
        "age": last.age if last else None,
        "young": standing.young(seen.now) if standing.lineage else None,
        "rounds": last.round if last else 0,
        "last_round": _round(last) if last else None,
        "splits": [lineage.hex() for lineage in last.splits] if last else [],
    }


def _round(last: PastRound) -> dict[str, Any]:
    counts = ("heard", "chosen", "merged", "refused", "failed", "lost")
    shown = ("at", "seconds", "outcome", *counts, "published", "published_bytes", "fetched_bytes")
    return {name: getattr(last, name) for name in shown}


def _bytes(seen: HomeState) -> dict[str, int]:
    totals, (published, fetched) = seen.history.totals(), seen.history.bytes_since(seen.now - HOUR)
    return {
        "published": totals.get("published_bytes", 0),
        "fetched": totals.get("fetched_bytes", 0),
        "published_last_hour": published,
        "fetched_last_hour": fetched,
    }


def _disk(seen: HomeState) -> dict[str, int]:
    """`home_bytes` as the disk counts them; own updates may lie in a storage elsewhere."""
    kept = seen.history.published()
    return {
        "home_bytes": bytes_in(seen.home),
        "own_updates": len(kept),
        "own_updates_bytes": sum(item.bytes for item in kept),
        "quota_bytes": seen.peer.quota_bytes,
    }


def _rejoin(seen: HomeState) -> dict[str, Any] | None:
    order = seen.history.last_rejoin()
    return None if order is None else {"lineage": order.lineage.hex() if order.lineage else None, "at": order.at, "outcome": order.outcome}


def _peers(seen: HomeState, most: int) -> dict[str, Any]:
    """Those heard last come first."""
    known = dict.fromkeys([*seen.sightings, *seen.denied, *seen.records])
    return {"peers_known": len(known), "peers": [_peer(seen, peer) for peer in list(known)[:most]]}


def _peer(seen: HomeState, peer: PeerId) -> dict[str, Any]:
    sighting, record = seen.sightings.get(peer), seen.records.get(peer)
    return {
        "peer": peer,
        "heard_at": sighting.at if sighting else None,
        "live": bool(sighting and sighting.live),
        "lineage": sighting.lineage.hex() if sighting and sighting.lineage else None,
        "age": sighting.age if sighting else None,
        "young": sighting.young if sighting else None,
        "failures": record.failures if record else 0,
        "ever_accepted": bool(record and record.ever_accepted),
        "trust": record.trust if record else 0.0,
        "bytes_per_second": record.bytes_per_second if record else None,
        "shut_out": seen.shut_out(peer),
        "last_verdict": _last_verdict(seen, peer),
    }


def _last_verdict(seen: HomeState, peer: PeerId) -> Mapping[str, Any] | None:
    return next((attrs.asdict(verdict) for verdict in seen.history.verdicts(peer=peer, limit=1)), None)
