"""What keeps a root in a daemon: a recursive pin whose name says whose it is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import attrs

from learnae import Block, Cid, Context, UpdateRejected
from learnae.content.cids import cid_bytes, parse_cid
from learnae.content.roots import dag_block
from learnae_ipfs.car import car, form
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import Line, Refused

MOST_PINS = 1 << 16


@attrs.frozen
class Pins:
    """The pins of one peer in one swarm.

    A daemon keeps one pin of a root, with one name. Where somebody else has it pinned already, a ticket is pinned instead: a small
    block of this peer's own that links to the root.
    """

    daemon: Daemon
    prefix: str

    @classmethod
    def of(cls, context: Context, daemon: Daemon) -> Pins:
        """Named by swarm and peer; in a private swarm by what tells neither to others who use the daemon."""
        swarm, peer, secret = hashlib.sha256(context.swarm.encode()).hexdigest(), str(context.peer), context.secret("the owner of a pin")
        if secret is not None:
            swarm, peer = (hmac.digest(secret, text.encode(), "sha256").hex() for text in (swarm, peer))
        return cls(daemon, f"learnae/{swarm[:16]}/{peer}/")

    async def add(self, root: Cid, blocks: Iterable[Block]) -> None:
        """Send the blocks and pin the root. A put that breaks off has pinned nothing."""
        name, ticket = self.prefix + root, self._ticket(root)
        taken = await self.daemon.call(lambda line: _name_of(line, root)) not in (None, name)
        top, more = (ticket.cid, (ticket,)) if taken else (root, ())
        await self.daemon.call(lambda line: _send(line, top, blocks, more))
        # Here and not by dag/import, which cannot give a name: what is pinned without one would be nobody's after a crash.
        await self.daemon.call(lambda line: list(line.ask("pin/add", top, name=name, offline="true")))

    async def remove(self, root: Cid) -> None:
        """Only what has exactly the own name."""
        for cid in (root, self._ticket(root).cid):
            await self.daemon.call(lambda line, cid=cid: _remove(line, cid, self.prefix + root))  # type: ignore[misc]

    async def roots(self) -> list[Cid]:
        names = await self.daemon.call(lambda line: _names(line, self.prefix))
        return [root for name in names if (root := _root_of(name.removeprefix(self.prefix))) is not None]

    def _ticket(self, root: Cid) -> Block:
        return dag_block({"learnae": self.prefix + root, "root": cid_bytes(root)})


def _send(line: Line, top: Cid, blocks: Iterable[Block], more: Iterable[Block]) -> None:
    kind, head, tail = form()

    def body() -> Iterable[bytes]:
        yield head
        yield from car(top, (block for some in (blocks, more) for block in some))
        yield tail

    list(line.ask("dag/import", data=iter(body()), headers={"Content-Type": kind}, **{"pin-roots": "false"}))


def _name_of(line: Line, cid: Cid) -> str | None:
    """The name of its recursive pin, "" for one without; None where there is none."""
    try:
        answers = list(line.ask("pin/ls", cid, type="recursive", names="true", stream="true"))
    except Refused as error:
        if "not pinned" in str(error):
            return None
        raise
    return str(answers[0].get("Name", "")) if answers else None


def _remove(line: Line, cid: Cid, name: str) -> None:
    if _name_of(line, cid) == name:
        list(line.ask("pin/rm", cid))


def _names(line: Line, prefix: str) -> list[str]:
    names: list[str] = []
    for answer in line.ask("pin/ls", type="recursive", stream="true", name=prefix):
        name = str(answer.get("Name", ""))
        if name.startswith(prefix) and len(names) < MOST_PINS:
            names.append(name)
    return names


def _root_of(text: str) -> Cid | None:
    try:
        return parse_cid(text)
    except UpdateRejected:
        return None
