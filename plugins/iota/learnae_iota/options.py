"""The keys of `[announcer]` with `use = "iota"`."""

from __future__ import annotations

from typing import Any

import attrs
from attrs.validators import and_, ge, gt, in_, le, max_len, min_len, optional

from learnae.lowlevel import DURATION, Matches, option
from learnae_iota.line import check_address

PORT, MOST_PORT = 14265, 65535


def _addresses(_: object, __: Any, addresses: tuple[str, ...]) -> None:
    for address in addresses:
        check_address(address)


def _port(_: object, __: Any, address: str) -> None:
    if not 0 < int(address.rpartition(":")[2]) <= MOST_PORT:
        raise ValueError(f"must have a port from 1 to {MOST_PORT}")


@attrs.frozen
class IotaAnnouncerOptions:
    nodes: tuple[str, ...] = option(
        (f"http://127.0.0.1:{PORT}",),
        "The HTTP APIs of Hornets of one tangle. The first that works is used, and the others are looked at now and then.",
        and_(min_len(1), max_len(16), _addresses),
    )
    weight_magnitude: int = option(1, "Zero trits that a hash must end with: the `mwm` of the tangle.", and_(ge(1), le(18)))
    proof_of_work: str = option("local", "Who works it out: this machine, or the node.", in_(("local", "node")))
    poll_seconds: float = option(0.5, "The longest pause between two looks at a node that answers at once.", and_(gt(0.0), le(60.0)))
    backlog_seconds: float = option(86_400.0, "How far back a newcomer looks.", and_(ge(0.0), le(30 * 86_400.0)))
    repeat_seconds: float = option(300.0, "The longest time after which what is in force is sent again.", and_(ge(1.0), DURATION))
    silence_seconds: float = option(5.0, "How long a node may be silent before it counts as gone.", and_(gt(0.0), le(60.0)))
    feed: str | None = option(
        None,
        "A node's ZMQ feed; with it, looks become rare.",
        optional(and_(Matches(r"tcp://[^\s/]+:[0-9]{1,5}", '"tcp://host:port"'), _port)),
    )
