"""A program that carries packets between two network namespaces, late, and not all of them. It ends with the process that has started it.

Arguments: the process that holds the one namespace, the name that the link has there, the same for the other, seconds of delay, share lost.
The links are taps: their end takes packets as they are on a wire, with nothing left to be worked out by a network card.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import struct
import sys
from collections import deque

import attrs
import trio

TUNSETIFF = 0x400454CA
TAP_WITHOUT_HEADER = 0x1002
CLONE_NEWNET = 0x40000000
FRAME_BYTES = 1 << 16
WAITING_FRAMES = 1000  # as a router's queue: what does not fit is lost


def tap(holder: int, name: str) -> int:
    """The end of a new link of that namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    space = os.open(f"/proc/{holder}/ns/net", os.O_RDONLY)
    if library.setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(space)
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP_WITHOUT_HEADER))
    return end


@attrs.define(eq=False)
class OneWay:
    """From one end to the other."""

    source: int
    target: int
    delay: float
    loss: float
    rng: random.Random
    _waiting: deque[tuple[float, bytes]] = attrs.field(factory=deque)
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def take(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.source)
            try:
                frame = os.read(self.source, FRAME_BYTES)
            except OSError:  # it is down, or nothing was there
                await trio.sleep(0.001)
                continue
            if len(self._waiting) < WAITING_FRAMES and self.rng.random() >= self.loss:
                self._waiting.append((trio.current_time() + self.delay, frame))
                self._news.set()

    async def give(self) -> None:
        while True:
            if not self._waiting:
                self._news = trio.Event()
                await self._news.wait()
            due, frame = self._waiting.popleft()
            await trio.sleep_until(due)
            try:
                os.write(self.target, frame)
            except OSError:  # it is down, or full: lost
                continue


async def main(one: int, other: int, delay: float, loss: float) -> None:
    async with trio.open_nursery() as nursery:
        for seed, (source, target) in enumerate(((one, other), (other, one))):
            way = OneWay(source, target, delay, loss, random.Random(seed))
            nursery.start_soon(way.take)
            nursery.start_soon(way.give)
        sys.stdout.write("up\n")
        sys.stdout.flush()


if __name__ == "__main__":
    ends = [tap(int(holder), name) for holder, name in (sys.argv[1:3], sys.argv[3:5])]
    trio.run(main, *ends, *map(float, sys.argv[5:7]))
