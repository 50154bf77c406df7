"""The pins that keep roots in a daemon. The name of a pin says which peer it belongs to."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import itertools
from collections.abc import Iterable, Iterator

import attrs
import trio

from learnae import Block, Cid, Context, UnavailableError, UpdateRejectedError
from learnae.lowlevel import cid_bytes, dag_block, parse_cid
from learnae_ipfs.aside import Aside
from learnae_ipfs.car import car, form
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.finishing import finished
from learnae_ipfs.line import KuboConnection, KuboRefusedError
from learnae_ipfs.pinning import KINDS, WHOLE, pin, pinned, unpin

UNDO_SECONDS = 2.0


@attrs.frozen
class Pins:
    """The pins of one peer in one swarm.

    A daemon keeps only one pin of a root, with the name that was given last, even if several peers need it. So this peer pins not the root
    but a ticket: a small block of its own that links to the root.
    """

    daemon: Daemon
    prefix: str
    aside: Aside

    @property
    def lock(self) -> trio.Lock:
        """Held by whoever takes pins away or makes them again."""
        return self.aside.lock

    @classmethod
    def of(cls, context: Context, daemon: Daemon) -> Pins:
        """Named by swarm and peer; in a private swarm by what tells neither to others who use the daemon."""
        swarm, peer, secret = hashlib.sha256(context.swarm.encode()).hexdigest(), str(context.peer), context.secret("the owner of a pin")
        if secret is not None:
            swarm, peer = (hmac.digest(secret, text.encode(), "sha256").hex() for text in (swarm, peer))
        prefix = f"learnae/{swarm[:16]}/{peer}/"
        return cls(daemon, prefix, Aside(daemon, prefix))

    async def add(self, root: Cid, blocks: Iterable[Block]) -> None:
        """Send the blocks, and pin the root. If it breaks off, nothing is pinned. What iterating `blocks` raises comes through."""
        ticket, source = self._ticket(root), _Source(blocks)
        try:
            await self.daemon.call(lambda line: _send(line, ticket, source))
        except UnavailableError:
            if source.failure is not None:
                raise source.failure from None
            raise
        try:
            # Here and not by dag/import, which cannot give a name: what is pinned without one would be nobody's after a crash.
            await finished(lambda: self.daemon.call(lambda line: pin(line, ticket.cid, self.prefix + root)), UNDO_SECONDS)
            await self.aside.bring_back()  # a block may have come with it that another root lacks
        except BaseException:  # the daemon may have pinned it all the same; a nursery inside wraps it when this is cancelled
            await self.undo(root)
            raise

    async def undo(self, root: Cid) -> None:
        """Remove the pin again, as far as that is possible now, even if the caller is cancelled."""
        with trio.move_on_after(UNDO_SECONDS, shield=True), contextlib.suppress(UnavailableError, KuboRefusedError):
            await self.remove(root)

    async def remove(self, root: Cid) -> None:
        """Remove a pin, only if it has exactly the own name."""
        async with self.lock:
            await self.daemon.call(lambda line: unpin(line, self._ticket(root).cid, self.prefix + root))

    async def roots(self) -> list[Cid]:
        """The own roots, with those whose pins are removed for a while."""
        whole, alone = await self.daemon.call(lambda line: [pinned(line, self.prefix, kind) for kind in KINDS])
        if alone:  # a node asks after each start, and now and then: pins were aside when it was killed, or another process was cut off
            self.aside.nothing = False
            await self.aside.bring_back()
        names = dict.fromkeys((*whole.values(), *alone.values()))
        return [root for name in names if (root := _root_of(name.removeprefix(self.prefix))) is not None]

    async def tickets(self) -> dict[Cid, str]:
        """What is pinned with all that it links to under own names, and these names."""
        return await self.daemon.call(lambda line: pinned(line, self.prefix, WHOLE))

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


def _send(line: KuboConnection, ticket: Block, blocks: Iterable[Block]) -> None:
    kind, head, tail = form()

    def body() -> Iterator[bytes]:
        yield head
        yield from car(ticket.cid, itertools.chain((ticket,), blocks))
        yield tail

    line.order("dag/import", data=body(), headers={"Content-Type": kind}, **{"pin-roots": "false"})


def _root_of(text: str) -> Cid | None:
    try:
        return parse_cid(text)
    except UpdateRejectedError:
        return None
