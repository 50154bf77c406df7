"""A swarm of processes on loopback that train together: `swarm_member` says what each is."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from plugins.libp2p.tests.support.peer_processes import Loopback, PeerProcess

PROGRAM = "plugins.libp2p.tests.support.swarm_member"
STARTED_AT_ONCE = 4
PACES = (1.0, 1.0, 1.5, 2.0)
WAIT_SECONDS = 6.0  # on a busy machine a newcomer must not think that it is alone


@attrs.define(eq=False)
class MemberProcess(PeerProcess):
    """One peer that trains. `rounds` are those of all its lives, `since` says where this life begins."""

    rounds: list[Mapping[str, Any]] = attrs.field(factory=list)
    since: int = 0

    async def start(self, nursery: trio.Nursery) -> None:
        self.since = len(self.rounds)
        await super().start(nursery)

    @property
    def own_rounds(self) -> list[Mapping[str, Any]]:
        """Of this life."""
        return self.rounds[self.since :]

    def _take(self, what: Mapping[str, Any]) -> None:
        if what["event"] == "round":
            self.rounds.append(what)
            self._tell()
        else:
            super()._take(what)


@attrs.define(eq=False)
class MemberSwarm:
    """All but the first know the address of the first, and it knows nobody."""

    members: list[MemberProcess]
    nursery: trio.Nursery

    @property
    def first(self) -> MemberProcess:
        return self.members[0]

    @property
    def alive(self) -> list[MemberProcess]:
        return [member for member in self.members if member.alive]

    @property
    def best_connected(self) -> MemberProcess:
        return max(self.alive, key=lambda member: len(member.connected))

    async def start(self) -> None:
        """Few at once, since each needs seconds of CPU until it serves. All join what the first has founded."""
        await self.first.start(self.nursery)
        await self.first.until(lambda: bool(self.first.rounds))
        turns = trio.Semaphore(STARTED_AT_ONCE)

        async def start(member: MemberProcess) -> None:
            async with turns:
                await member.start(self.nursery)

        async with trio.open_nursery() as starting:
            for member in self.members[1:]:
                starting.start_soon(start, member)

    async def merge(self, rounds: int) -> dict[str, list[Mapping[str, Any]]]:
        """Returns when each that is alive has merged in so many rounds, one after the other, in the lineage of the first.

        They begin now; what each has made until then is returned.
        """
        begin = {member: len(member.rounds) for member in self.alive}
        for member, at in begin.items():
            await member.until(lambda member=member, at=at: self._merged(member.rounds[at:][-rounds:], rounds))  # type: ignore[misc]
        return {member.name: member.rounds[at:] for member, at in begin.items()}

    def _merged(self, made: Sequence[Mapping[str, Any]], count: int) -> bool:
        return len(made) == count and all(one["merged"] and one["lineage"] == self.lineage for one in made)

    @property
    def lineage(self) -> str:
        return str(self.first.rounds[0]["lineage"])


@asynccontextmanager
async def member_swarm(folder: Path, count: int, round_seconds: float, **given: Any) -> AsyncIterator[MemberSwarm]:
    """Members that are not started yet; some train at half of the pace of others. All are gone when this closes."""
    members = [
        MemberProcess(f"m{number}", Loopback(), folder / f"m{number}", PROGRAM, port=port) for number, port in enumerate(free_ports(count))
    ]
    for number, member in enumerate(members):
        member.peers = [members[0].address] if number else []
        member.given = {
            "round_seconds": round_seconds * PACES[number % len(PACES)],
            "wait_seconds": WAIT_SECONDS if number else 0.0,
            **given,
        }
    async with trio.open_nursery() as nursery:
        try:
            yield MemberSwarm(members, nursery)
        finally:
            for member in members:
                member.kill()
            nursery.cancel_scope.cancel()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
