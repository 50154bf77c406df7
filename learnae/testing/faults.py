"""Faults on purpose: wrappers that fit any storage and any announcer."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import trio

from learnae.blocking_services import BlockingAnnouncer, BlockingStorage
from learnae.errors import Problem, UnavailableError
from learnae.node.blocking import asynchronous
from learnae.node.services import EventLoop
from learnae.observations import PeerConnection
from learnae.records import Block, Cid, Heard
from learnae.strategies import Announcer, Storage


class Fault(enum.Enum):
    """What goes wrong with one call."""

    BEFORE = "before"  # UnavailableError, and nothing was done
    HALFWAY = "half way"  # UnavailableError after half of the work; an announcement was sent all the same
    SLOW = "slow"  # done after a while
    GARBAGE = "garbage"  # done, with bytes that are not the right ones
    SILENCE = "silence"  # never returns


Plan = Callable[[str, int], Fault | None]
"""The fault of the n-th call (from 0) of a method; None: this call works."""


def nth(number: int, fault: Fault, *methods: str) -> Plan:
    """Plan this fault for the n-th call, from 0, of each of these methods. Without methods, of every method."""
    return lambda method, call: fault if call == number and method in (methods or (method,)) else None


def always(fault: Fault, *methods: str) -> Plan:
    """Plan this fault for each call of these methods. Without methods, of every method."""
    return lambda method, call: fault if method in (methods or (method,)) else None


def at_random(seed: int, chances: Mapping[Fault, float]) -> Plan:
    """Plan each fault with its probability. The same seed gives the same fault for the same call, whatever else is called."""
    faults: tuple[Fault | None, ...] = (*chances, None)
    weights = (*chances.values(), 1 - sum(chances.values()))
    return lambda method, call: random.Random(f"{seed} {method} {call}").choices(faults, weights)[0]


def garbled(data: bytes) -> bytes:
    """The same bytes with the last one changed. Empty bytes become one byte."""
    return data[:-1] + bytes([data[-1] ^ 0xFF]) if data else b"\0"


class _Planned:
    """Counts the calls of each method, and asks the plan."""

    def __init__(self, plan: Plan, slow_seconds: float) -> None:
        self._plan, self._slow_seconds = plan, slow_seconds
        self.calls: dict[str, int] = {}

    async def begin(self, method: str, missing: Sequence[Cid] = ()) -> Fault | None:
        """Do what is the same for all methods; return the fault for the rest."""
        call = self.calls.get(method, 0)
        self.calls[method] = call + 1
        fault = self._plan(method, call)
        if fault is Fault.BEFORE:
            raise UnavailableError(f"fault on purpose: {method} did nothing", missing)
        if fault is Fault.SILENCE:
            await trio.sleep_forever()
        if fault is Fault.SLOW:
            await trio.sleep(self._slow_seconds)
        return fault


class FaultyStorage(Storage):
    """A storage whose calls of `put`, `get`, `drop` and `roots` fail as planned."""

    def __init__(self, inner: Storage | BlockingStorage, plan: Plan, *, slow_seconds: float = 1.0) -> None:
        super().__init__(inner.options, inner.context)
        self.inner: Storage = asynchronous(inner)
        self.leaves_machine, self.keeps_budgets = inner.leaves_machine, inner.keeps_budgets  # type: ignore[misc]
        self.faults = _Planned(plan, slow_seconds)

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.inner.__aexit__(*exc_info)

    async def check(self) -> Sequence[str | Problem]:
        return await self.inner.check()

    def connections(self) -> Sequence[PeerConnection]:
        return self.inner.connections()

    def addresses(self) -> Sequence[str]:
        return self.inner.addresses()

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        fault = await self.faults.begin("put")
        if fault is Fault.HALFWAY:
            every = list(blocks)
            raise UnavailableError(f"fault on purpose: the connection broke after {len(every) // 2} blocks")
        if fault is Fault.GARBAGE:
            blocks = [Block(block.cid, garbled(block.data)) for block in blocks]
        await self.inner.put(root, blocks)

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        fault = await self.faults.begin("get", cids)
        if fault is Fault.HALFWAY:
            await self.inner.get(cids[: len(cids) // 2], deliver, hints=hints)
            raise UnavailableError("fault on purpose: half of the blocks were delivered", cids[len(cids) // 2 :])
        if fault is Fault.GARBAGE:
            await self.inner.get(cids, lambda block: deliver(Block(block.cid, garbled(block.data))), hints=hints)
        else:
            await self.inner.get(cids, deliver, hints=hints)

    async def drop(self, root: Cid) -> None:
        fault = await self.faults.begin("drop")
        await self.inner.drop(root)
        if fault is Fault.HALFWAY:
            raise UnavailableError("fault on purpose: dropped, but not confirmed")

    async def roots(self) -> Sequence[Cid]:
        fault = await self.faults.begin("roots")
        if fault is Fault.HALFWAY:
            raise UnavailableError("fault on purpose: the list broke off")
        return await self.inner.roots()

    def hints(self) -> Sequence[str]:
        return self.inner.hints()


class FaultyAnnouncer(Announcer):
    """An announcer whose calls of `announce` and `listen` fail as planned."""

    def __init__(self, inner: Announcer | BlockingAnnouncer, plan: Plan, *, slow_seconds: float = 1.0, half: int = 1) -> None:
        super().__init__(inner.options, inner.context)
        self.inner: Announcer = asynchronous(inner)
        self.max_bytes, self.leaves_machine = inner.max_bytes, inner.leaves_machine  # type: ignore[misc]
        self.faults = _Planned(plan, slow_seconds)
        self._half = half  # messages that a listener hears before it fails half way

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.inner.__aexit__(*exc_info)

    async def check(self) -> Sequence[str | Problem]:
        return await self.inner.check()

    def connections(self) -> Sequence[PeerConnection]:
        return self.inner.connections()

    def addresses(self) -> Sequence[str]:
        return self.inner.addresses()

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        fault = await self.faults.begin("announce")
        await self.inner.announce(garbled(message) if fault is Fault.GARBAGE else message, channel=channel, replaces=replaces)
        if fault is Fault.HALFWAY:
            raise UnavailableError("fault on purpose: sent, but not confirmed")

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        fault = await self.faults.begin("listen")
        if fault is Fault.GARBAGE:
            await self.inner.listen(channels, lambda heard: deliver(Heard(garbled(heard.message), heard.backlog)))
        elif fault is Fault.HALFWAY:
            await self._listen_for_a_while(channels, deliver)
        else:
            await self.inner.listen(channels, deliver)

    async def _listen_for_a_while(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        left = iter(range(self._half))
        with trio.CancelScope() as scope:
            loop = EventLoop()

            def deliver_some(heard: Heard) -> None:
                if next(left, None) is None:
                    loop.soon(scope.cancel)
                else:
                    deliver(heard)

            await self.inner.listen(channels, deliver_some)
        raise UnavailableError(f"fault on purpose: the connection broke after {self._half} messages")
