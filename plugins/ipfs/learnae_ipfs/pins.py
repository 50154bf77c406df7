"""What keeps a root in a daemon: a recursive pin whose name says whose it is."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import attrs
import trio

from learnae import Block, Cid, Context, Unavailable, UpdateRejected
from learnae.content.cids import cid_bytes, parse_cid
from learnae.content.roots import dag_block
from learnae_ipfs.car import car, form
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import Line, Refused

MOST_PINS = 1 << 16
UNDO_SECONDS = 2.0
STUCK = 10  # answers, one each half second, without progress
WAITING = 120  # the same before it has begun: garbage is being collected


@attrs.frozen
class Pins:
    """The pins of one peer in one swarm.

    A daemon keeps one pin of a root, with the name that it was given last, whoever else counts on it. So no root is pinned but a
    ticket: a small block of this peer's own that links to the root.
    """

    daemon: Daemon
    prefix: str
    lock: trio.Lock = attrs.field(factory=trio.Lock)  # held by whoever takes pins away

    @classmethod
    def of(cls, context: Context, daemon: Daemon) -> Pins:
        """Named by swarm and peer; in a private swarm by what tells neither to others who use the daemon."""
        swarm, peer, secret = hashlib.sha256(context.swarm.encode()).hexdigest(), str(context.peer), context.secret("the owner of a pin")
        if secret is not None:
            swarm, peer = (hmac.digest(secret, text.encode(), "sha256").hex() for text in (swarm, peer))
        return cls(daemon, f"learnae/{swarm[:16]}/{peer}/")

    async def add(self, root: Cid, blocks: Iterable[Block]) -> None:
        """Send the blocks and pin the root. A put that breaks off has pinned nothing; what `blocks` raises comes through."""
        ticket, source = self._ticket(root), _Source(blocks)
        try:
            await self.daemon.call(lambda line: _send(line, ticket, source))
        except Unavailable:
            if source.failure is not None:
                raise source.failure from None
            raise
        try:
            # Here and not by dag/import, which cannot give a name: what is pinned without one would be nobody's after a crash.
            await self.pin(ticket.cid, self.prefix + root)
        except Unavailable:  # the daemon may have pinned it all the same
            with trio.move_on_after(UNDO_SECONDS), contextlib.suppress(Unavailable, Refused):
                await self.remove(root)
            raise

    async def pin(self, ticket: Cid, name: str) -> None:
        """Raises Unavailable if the daemon has lost a block meanwhile."""
        await self.daemon.call(lambda line: _pin(line, ticket, name))

    async def remove(self, root: Cid) -> None:
        """Only what has exactly the own name."""
        async with self.lock:
            await self.daemon.call(lambda line: _remove(line, self._ticket(root).cid, self.prefix + root))

    async def roots(self) -> list[Cid]:
        names = (await self.tickets()).values()
        return [root for name in names if (root := _root_of(name.removeprefix(self.prefix))) is not None]

    async def tickets(self) -> dict[Cid, str]:
        """What is pinned under own names, and these names."""
        return await self.daemon.call(lambda line: _pinned(line, self.prefix))

    def _ticket(self, root: Cid) -> Block:
        return dag_block({"learnae": self.prefix + root, "root": cid_bytes(root)})


@attrs.define
class _Source:
    """The core's blocks. What fails in making them is no failure of the daemon, even if it looks the same to whoever sends them."""

    blocks: Iterable[Block]
    failure: Exception | None = None

    def __iter__(self) -> Iterator[Block]:
        try:
            yield from self.blocks
        except Exception as error:
            self.failure = error
            raise


def _send(line: Line, ticket: Block, blocks: Iterable[Block]) -> None:
    kind, head, tail = form()

    def body() -> Iterator[bytes]:
        yield head
        yield from car(ticket.cid, itertools.chain((ticket,), blocks))
        yield tail

    list(line.ask("dag/import", data=body(), headers={"Content-Type": kind}, **{"pin-roots": "false"}))


def _pin(line: Line, ticket: Cid, name: str) -> None:
    """For a block that it has not got, a daemon searches the network, even if it is told not to, and does not end by itself."""
    alike: Counter[int] = Counter()
    for answer in line.ask("pin/add", ticket, name=name, offline="true", progress="true"):
        if answer.get("Pins"):
            return
        progress = int(answer.get("Progress", 0))
        alike[progress] += 1
        if alike[progress] > (STUCK if progress else WAITING):
            line.hang_up()
            break
    raise Unavailable("the IPFS daemon does not pin what it was sent: it may have collected garbage meanwhile")


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


def _pinned(line: Line, prefix: str) -> dict[Cid, str]:
    pinned: dict[Cid, str] = {}
    for answer in line.ask("pin/ls", type="recursive", stream="true", name=prefix):
        cid, name = answer.get("Cid"), str(answer.get("Name", ""))
        if cid and name.startswith(prefix) and len(pinned) < MOST_PINS:
            pinned[cid] = name
    return pinned


def _root_of(text: str) -> Cid | None:
    try:
        return parse_cid(text)
    except UpdateRejected:
        return None
