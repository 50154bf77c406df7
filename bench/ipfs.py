"""The storage `ipfs` beside Kubo's own command line, and the memory that it takes: `python bench/ipfs.py [--quick] [--repeats N]`.

Each repetition moves two sets of fresh blocks, one by the storage and one by the command line, in turn first: into a daemon, out of it,
and out of another daemon that has none of them. The storage checks each block by its hash, as a node does; the command line does not.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import attrs
import trio
from kubo import Kubo, daemons, program
from machine import describe
from tables import show

from learnae.content.cids import raw_cid
from learnae.content.roots import Root, encode_parts, encode_root
from learnae.records import BLOCK_BYTES, Block, Cid
from learnae.testing.context import make_context
from learnae.testing.published import MadeUpUpdate, payloads, published
from learnae_ipfs.car import car
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

MIB = 2**20
GOALS = {"put": 1.5, "get from the own daemon": 1.5, "get from another daemon": 1.3}
COMMANDS = {"put": "`dag import`", "get from the own daemon": "`dag export`", "get from another daemon": "`dag export`, receiving side"}


@attrs.frozen
class Took:
    """What moving one set took: on the wall, and of CPU of whoever asked (this process, or the command line) and of the daemons."""

    wall: float
    asking: float
    daemons: float


@attrs.define
class Race:
    """The storage and the command line, doing the same to the same daemons."""

    kubos: Sequence[Kubo]
    folder: Path
    took: dict[tuple[str, str], list[Took]] = attrs.field(factory=lambda: defaultdict(list))

    async def run(self, repeats: int, count: int) -> None:
        async with self.storage(0) as near, self.storage(1) as far:
            for number in range(repeats):
                sets = [published(f"{number} {who}", *payloads(count, 2 * number + who, BLOCK_BYTES)) for who in range(2)]
                await self._once(near, far, *sets, ours_first=number % 2 == 0)
                await near.drop(sets[0].root)
                self.kubos[0].ipfs("pin", "rm", sets[1].root)
                for kubo in self.kubos:
                    kubo.ipfs("repo", "gc", "--quiet")

    def storage(self, place: int) -> IpfsStorage:
        return IpfsStorage(IpfsStorageOptions(address=self.kubos[place].address), make_context(self.folder / str(place)))

    async def _once(self, near: IpfsStorage, far: IpfsStorage, ours: MadeUpUpdate, theirs: MadeUpUpdate, *, ours_first: bool) -> None:
        file = self.folder / "theirs.car"
        file.write_bytes(b"".join(car(theirs.root, theirs.blocks)))
        one, other = self.kubos
        for what, do, command in (
            ("put", lambda: near.put(ours.root, ours.blocks), (one, "import", "--silent", str(file))),
            ("get from the own daemon", lambda: get(near, ours), (one, "export", "--progress=false", theirs.root)),
            ("get from another daemon", lambda: get(far, ours, near.hints()), (other, "export", "--progress=false", theirs.root)),
        ):
            for storage in (True, False) if ours_first else (False, True):
                await (self._measure_storage(what, do) if storage else self._measure_command(what, *command))

    async def _measure_storage(self, what: str, do: Callable[[], Awaitable[None]]) -> None:
        wall, asking, theirs = time.monotonic(), time.process_time(), self._daemons_cpu()
        await do()
        took = Took(time.monotonic() - wall, time.process_time() - asking, self._daemons_cpu() - theirs)
        self.took[what, "storage"].append(took)

    async def _measure_command(self, what: str, kubo: Kubo, *arguments: str) -> None:
        wall, asking, theirs = time.monotonic(), children_cpu(), self._daemons_cpu()
        await trio.to_thread.run_sync(kubo.ipfs, "dag", *arguments)
        self.took[what, "command"].append(Took(time.monotonic() - wall, children_cpu() - asking, self._daemons_cpu() - theirs))

    def _daemons_cpu(self) -> float:
        return sum(kubo.cpu_seconds for kubo in self.kubos)


async def get(storage: IpfsStorage, update: MadeUpUpdate, hints: Sequence[str] = ()) -> None:
    """As a node does: the root, what it names, then the blocks; nothing is kept."""
    meta, *blocks, part, root = update.cids
    came: set[Cid] = set()
    for cids in ([root], [meta, part], blocks):
        await storage.get(cids, lambda block: came.add(block.cid), hints=hints)
    assert came == {*update.cids}


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show_race(race: Race, mib: float) -> None:
    rows = []
    for what, goal in GOALS.items():
        ours, theirs = race.took[what, "storage"], race.took[what, "command"]
        ratios = [one.wall / other.wall for one, other in zip(ours, theirs, strict=True)]
        rows.append(
            (
                f"{what} / {COMMANDS[what]}",
                *(f"{median(took.wall for took in side):.2f}" for side in (ours, theirs)),
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                f"{goal}",
                *(f"{median(took.asking for took in side):.2f}" for side in (ours, theirs)),
                *(f"{median(took.daemons for took in side):.2f}" for side in (ours, theirs)),
            )
        )
    sides = ("storage", "command")
    header = (
        "",
        *(f"{side}, s" for side in sides),
        "ratio",
        "goal",
        *(f"CPU of {side}" for side in sides),
        *(f"daemons, {side}" for side in sides),
    )
    show(f"{mib:.0f} MiB of fresh blocks, medians of {len(ours)}, ratios of each pair (lowest to highest)", header, rows)


@attrs.frozen
class Made:
    """An update whose blocks are made whenever they are asked for, so that nothing of it is in memory."""

    seed: int
    count: int

    def payloads(self) -> Iterator[Block]:
        rng = random.Random(self.seed)
        for _ in range(self.count):
            data = rng.randbytes(BLOCK_BYTES)
            yield Block(raw_cid(data), data)

    def update(self) -> tuple[Cid, list[Cid], Iterable[Block]]:
        """The root, the blocks below it, and all with what holds them together."""
        cids = [block.cid for block in self.payloads()]
        parts = encode_parts(cids)
        root = encode_root(Root(cids[0], tuple(part.cid for part in parts)))
        return root.cid, cids, itertools.chain(self.payloads(), parts, (root,))


async def show_memory(race: Race, count: int) -> None:
    """The most that this process has held at once while it moved the blocks, above what it held before."""
    async with race.storage(0) as near, race.storage(1) as far:
        for made in (Made(0, 4), Made(1, count)):  # the first to have done everything once
            root, cids, blocks = made.update()
            rows = [("put", await peak_above_idle(lambda: near.put(root, blocks)))]  # noqa: B023  # called at once
            for what, storage in (("get from the own daemon", near), ("get from another daemon", far)):
                rows.append((what, await peak_above_idle(lambda: storage.get(cids, lambda _: None, hints=near.hints()))))  # noqa: B023
    show(
        f"Moving {count * BLOCK_BYTES / MIB:.0f} MiB (goal: at most 64)",
        ("", "MiB above idle"),
        ((what, f"{most:.1f}") for what, most in rows),
    )


async def peak_above_idle(do: Callable[[], Awaitable[None]]) -> float:
    forget_the_highest()
    idle = memory("VmRSS")
    await do()
    return memory("VmHWM") - idle


def forget_the_highest() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) / 1024


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def main(repeats: int, count: int, moved: int) -> None:
    kubo = subprocess.run([program(), "version", "--number"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{describe()}, Kubo {kubo}, ipfshttpclient {version('ipfshttpclient')}")
    with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder, daemons(Path(folder), 2) as kubos:
        race = Race(kubos, Path(folder))
        trio.run(show_memory, race, moved)
        trio.run(race.run, repeats, count)
        show_race(race, count * BLOCK_BYTES / MIB)
    print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    options.add_argument("--repeats", type=int, default=7)
    chosen = options.parse_args()
    main(*((1, 4, 8) if chosen.quick else (chosen.repeats, 200, 1000)))
