"""What the announcer `iota` costs, and how fast it is, over a private tangle of two nodes on this machine.

Run it with `python bench/tangle.py`, after `make nodes`. CPU is that of this process, all of its threads: without the nodes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from machine import describe
from tables import show

from learnae.testing.announcer_talk import Listener
from learnae.testing.context import make_context
from learnae_iota import curl
from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.backlog import Backlog
from learnae_iota.calls import broadcast
from learnae_iota.devnet import Tangle, free_ports
from learnae_iota.line import NodeApi
from learnae_iota.looking import Poller
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.places import Places, window_of
from learnae_iota.transactions import NOTHING, make

HORNET = Path(__file__).parents[1] / ".nodes" / "hornet"
MESSAGE_BYTES = 700
DEPTH, MILESTONE_SECONDS = 10, 2
LIGHT = """
import time
began, cpu = time.perf_counter(), time.process_time()
from learnae_iota.light import Sensor
import_seconds, import_cpu = time.perf_counter() - began, time.process_time() - cpu
with Sensor("bench", [{url!r}], {home!r}) as sensor:
    cpu = time.process_time()
    for _ in range(10):
        sensor.announce(bytes(700))
    cpu = (time.process_time() - cpu) / 10
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(import_seconds, import_cpu, cpu, int(peak) / 1024)
"""


@attrs.frozen
class Bench:
    tangle: Tangle
    folder: Path
    scale: float

    def announcer(self, node: int, channel: str, **options: Any) -> IotaAnnouncer:
        context = make_context(self.folder / f"{node} {channel}", peer=f"{node} {channel}")
        return IotaAnnouncer(IotaAnnouncerOptions(nodes=(self.tangle.urls[node],), **options), context)

    def times(self, count: int) -> int:
        return max(int(count * self.scale), 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few repetitions: whether it runs")
    scale = 0.1 if parser.parse_args().quick else 1.0
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        settings = {"depth": DEPTH, "milestone_seconds": MILESTONE_SECONDS}
        with Tangle.running(Path(folder) / "tangle", str(HORNET), free_ports(2), **settings) as tangle:
            bench = Bench(tangle, Path(folder), scale)
            show("From announcing to being heard at the other node, seconds", ("", "median", "90 %"), latencies(bench))
            show("CPU", ("", ""), [*trio.run(sending, bench), *batches(bench), *trio.run(idling, bench)])
            show("A light sensor", ("", ""), light(bench))


def latencies(bench: Bench) -> list[tuple[str, ...]]:
    feed = bench.tangle.nodes[1].feed
    kinds: dict[str, dict[str, Any]] = {"polling": {}, "with the feed": {"feed": feed}}
    return [(kind, *trio.run(partial(latency, bench, kind, **options))) for kind, options in kinds.items()]


async def latency(bench: Bench, channel: str, **options: Any) -> tuple[str, str]:
    """A message every 2 to 6 seconds, as peers of a swarm send them."""
    seconds = []
    async with bench.announcer(0, channel) as a, bench.announcer(1, channel, **options) as b, listening(b, channel) as ear:
        for number in range(bench.times(40)):
            await trio.sleep(random.uniform(2.0, 6.0))
            message = b"%d" % number + random.randbytes(MESSAGE_BYTES)
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(a.announce, message, channel=channel, replaces=b"k"))
                await ear.hears(message)
                seconds.append(trio.current_time() - began)
    return f"{statistics.median(seconds):.2f}", f"{statistics.quantiles(seconds, n=10)[-1]:.2f}"


@asynccontextmanager
async def listening(announcer: IotaAnnouncer, channel: str) -> AsyncIterator[Listener]:
    ear = Listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.listen, [channel], ear.deliver)
        yield ear
        nursery.cancel_scope.cancel()


async def sending(bench: Bench) -> list[tuple[str, str]]:
    count = bench.times(40)
    async with bench.announcer(0, "sending") as a:
        await a.announce(b"the first", channel="sending", replaces=b"k")
        before = time.process_time()
        for _ in range(count):
            await a.announce(random.randbytes(MESSAGE_BYTES), channel="sending", replaces=b"k")
        each = (time.process_time() - before) / count
    return [("an announcement, weight magnitude 1, s", f"{each:.3f}")]


def batches(bench: Bench) -> list[tuple[str, str]]:
    """A listener that finds all at once; the same place again, so that hashing them does not take all day."""
    count, places, line = bench.times(400), Places.of("batches", None), NodeApi(bench.tangle.urls[1], 60.0)
    for _ in range(count):
        now = time.time()
        transaction = make(random.randbytes(MESSAGE_BYTES), places.at(window_of(now)), (NOTHING, NOTHING), int(now * 1000))
        broadcast(line, [curl.with_nonce(transaction, 1)])
    looker, messages = Poller([places]), 0
    backlog = Backlog(looker, 3600.0)
    before = time.process_time()
    while not backlog.over:
        messages += len(backlog.portion(line).messages)
    each = (time.process_time() - before) / messages
    line.close()
    return [(f"a message that is heard with {messages - 1} others, ms", f"{1000 * each:.2f}")]


async def idling(bench: Bench) -> list[tuple[str, str]]:
    async with bench.announcer(1, "idling") as b, listening(b, "idling"):
        await trio.sleep(10.0)
        before, began = time.process_time(), time.perf_counter()
        await trio.sleep(60.0 * bench.scale)
        share = (time.process_time() - before) / (time.perf_counter() - began)
    return [("listening to a silent channel, % of a core", f"{100 * share:.2f}")]


def light(bench: Bench) -> list[tuple[str, str]]:
    script = LIGHT.format(url=bench.tangle.urls[0], home=str(bench.folder / "sensor"))
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout for _ in range(bench.times(5))
    ]
    medians = [statistics.median(column) for column in zip(*(map(float, run.split()) for run in runs), strict=True)]
    names = ("its import, s", "its import, CPU s", "a reading of 700 bytes, CPU s", "its memory at most, MiB")
    return [(name, f"{value:.3f}" if value < 1 else f"{value:.0f}") for name, value in zip(names, medians, strict=True)]


if __name__ == "__main__":
    main()
