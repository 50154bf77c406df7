"""The calls of a daemon that are about pins."""

from __future__ import annotations

from typing import Any, TypeGuard

from learnae import Cid, UnavailableError
from learnae_ipfs.line import KuboConnection, KuboRefusedError

KINDS = WHOLE, ALONE = "recursive", "direct"  # what is pinned: a block with all that it links to, or nothing but itself
MOST_PINS = 1 << 16
CID_CHARACTERS = 128  # ours have 59, and a daemon may write them otherwise
STUCK = 10  # answers, one each half second, without progress
WAITING = 120  # the same before it has begun: garbage is being collected


def pin(line: KuboConnection, cid: Cid, name: str) -> None:
    """Raises UnavailableError if the daemon lacks a block: it would search the network, even if it is told not to, and not end by
    itself.
    """
    furthest, since = 0, 0
    for answer in line.ask("pin/add", cid, name=name, offline="true", progress="true"):
        if answer.get("Pins"):
            return
        told = answer.get("Progress", 0)
        progress = told if isinstance(told, int) else 0
        furthest, since = (progress, 0) if progress > furthest else (furthest, since + 1)
        if since > (STUCK if furthest else WAITING):
            line.hang_up()
            break
    raise UnavailableError("the IPFS daemon does not pin what it was sent: it may have collected garbage meanwhile")


def is_pinned(line: KuboConnection, cid: Cid, name: str, kind: str) -> bool:
    """Whether it has a pin of this kind with this very name."""
    try:
        first = None
        for answer in line.ask("pin/ls", cid, type=kind, names="true", stream="true"):
            first = answer if first is None else first  # the rest has to be read, and nothing of it kept
    except KuboRefusedError as error:
        if "not pinned" in str(error):
            return False
        raise
    return first is not None and first.get("Name", "") == name


def unpin(line: KuboConnection, cid: Cid, name: str) -> None:
    if any(is_pinned(line, cid, name, kind) for kind in KINDS):
        line.order("pin/rm", cid)


def pinned(line: KuboConnection, prefix: str, kind: str) -> dict[Cid, str]:
    found: dict[Cid, str] = {}
    for answer in line.ask("pin/ls", type=kind, stream="true", name=prefix):
        cid, name = answer.get("Cid"), answer.get("Name")
        own = _is_plain(cid, CID_CHARACTERS) and _is_plain(name, len(prefix) + CID_CHARACTERS) and name.startswith(prefix)
        if own and len(found) < MOST_PINS:
            found[Cid(cid)] = name
    return found


def _is_plain(text: Any, most: int) -> TypeGuard[str]:
    """Whether it is as short and as plain as what this peer pins: a megabyte of text takes four in memory where one sign is rare."""
    return isinstance(text, str) and len(text) <= most and text.isascii() and text.isprintable()


def pin_alone(line: KuboConnection, cid: Cid, name: str) -> None:
    """Instead of the whole, if that is pinned under this name: Kubo has no call that does both at once."""
    if is_pinned(line, cid, name, WHOLE):
        line.order("pin/rm", cid)
        line.order("pin/add", cid, name=name, recursive="false")


def pin_whole(line: KuboConnection, cid: Cid, name: str) -> None:
    """Instead of the block alone, if that is pinned under this name."""
    if is_pinned(line, cid, name, ALONE):
        pin(line, cid, name)


def is_whole(line: KuboConnection, cid: Cid) -> bool:
    """Whether the daemon has all that it links to."""
    return not any(answer.get("Err") for answer in line.ask("refs", cid, recursive="true", unique="true", offline="true"))
