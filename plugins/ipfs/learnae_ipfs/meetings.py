"""Meetings with the daemons of others, at the addresses that peers give as hints: a stranger may name any, also one that never answers."""

from __future__ import annotations

import math
import re
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TypeVar

import attrs
import trio

from learnae import UnavailableError
from learnae.lowlevel import HINT_CHARACTERS
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import KuboRefusedError

K = TypeVar("K")

HINTS = 8
DAEMONS = 2  # of one call: a peer has one, or one of two storages
MEET_SECONDS = 3.0
STRANGE, KNOWN = 2, 1  # meetings at once, with those never met over lines of their own
WAIT_SECONDS = 10.0  # for one's turn, too
HUNG_SECONDS = 60.0  # who did not answer is left alone for so long
DIALS, DIALS_SECONDS = 60, 60.0  # to those never met, in so many seconds
REMEMBERED = 1024
_HINT = re.compile(rf"(?=.{{1,{HINT_CHARACTERS}}}\Z)/[\x21-\x7e]+/p2p/[0-9A-Za-z]+")


def is_hint(text: str) -> bool:
    return _HINT.fullmatch(text) is not None


@attrs.define(eq=False)
class Meetings:
    """Whoever was met before is kept waiting by nobody who was not."""

    daemon: Daemon
    _met: OrderedDict[str, float] = attrs.field(factory=OrderedDict)  # by the name of a daemon: when last
    _hung: OrderedDict[tuple[str, ...], float] = attrs.field(factory=OrderedDict)  # by addresses: until when they are left alone
    _dials: deque[float] = attrs.field(factory=lambda: deque(maxlen=DIALS))
    _strange: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(STRANGE))
    _known: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(KNOWN))

    async def meet(self, hints: Sequence[str]) -> bool:
        """Connect the daemon to these addresses of others, as far as they are any and can be reached; whether it did to one."""
        addresses: dict[str, list[str]] = {}
        for hint in filter(is_hint, hints[:HINTS]):
            addresses.setdefault(hint.rpartition("/")[2], []).append(hint)
        met = False
        with trio.move_on_after(WAIT_SECONDS):
            for name in list(addresses)[:DAEMONS]:
                met = await self._meet_one(name, tuple(addresses[name])) or met
        return met

    async def _meet_one(self, name: str, addresses: tuple[str, ...]) -> bool:
        if trio.current_time() < self._hung.get(addresses, -math.inf):
            return False
        if name in self._met:
            async with self._known:
                return await self._dial(name, addresses, None)
        async with self._strange:
            now = trio.current_time()
            if len(self._dials) == DIALS and now - self._dials[0] < DIALS_SECONDS:
                return False
            self._dials.append(now)
            return await self._dial(name, addresses, trio.CapacityLimiter(1))

    async def _dial(self, name: str, addresses: tuple[str, ...], limit: trio.CapacityLimiter | None) -> bool:
        """By whichever address is the first to answer; a daemon that has met it already says so at once. Who fails is a stranger again."""
        with trio.move_on_after(MEET_SECONDS) as scope:
            try:
                await self.daemon.call(lambda line: line.order("swarm/connect", *addresses), limit)
            except (KuboRefusedError, UnavailableError):
                pass  # rubbish, or nobody there: what is missing is told by its blocks
            else:
                _remember(self._met, name, trio.current_time())
                return True
        self._met.pop(name, None)
        if scope.cancelled_caught:
            _remember(self._hung, addresses, trio.current_time() + HUNG_SECONDS)
        return False


def _remember(times: OrderedDict[K, float], key: K, until: float) -> None:
    times[key] = until
    times.move_to_end(key)
    if len(times) > REMEMBERED:
        times.popitem(last=False)
