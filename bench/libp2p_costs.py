"""What direct connections cost: `python bench/libp2p_costs.py [--peers 8] [--quick]`.

How long it takes to connect, and until an announcement is heard, each peer being a process on loopback; what a node that receives 10 MB/s
takes from a trainer; and when a newcomer has the model of a swarm whose members send a bounded number of bytes a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import attrs
import psutil
import structlog
import torch
import trio
from libp2p_blocks import LOOPBACK, cpu, made
from machine import describe
from tables import show
from task import Training, load, make_model

from learnae import Heard
from learnae.node.runtime import keep_memory
from learnae.records import BLOCK_BYTES, Budgets
from learnae.testing.context import make_context
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.options import GossipsubOptions
from learnae_libp2p.storage import Libp2pStorage, Libp2pStorageOptions
from plugins.libp2p.tests.support.member_swarm import member_swarm

HEARD_GOAL, CONNECT_GOAL, KEPT_GOAL = 50, 100, 0.85  # ms, ms, a share
RECEIVED = 10_000_000  # bytes a second
SAY_SECONDS = 0.25
LIMIT_SECONDS = 300.0


@attrs.frozen
class Size:
    peers: int
    messages: int
    dials: int
    seconds: float  # of training alone, and beside a node
    width: int  # of the newcomer's model, a square
    sent: int  # bytes a second of each member


FULL = Size(peers=8, messages=100, dials=40, seconds=20.0, width=1500, sent=500_000)
QUICK = Size(peers=3, messages=4, dials=3, seconds=1.0, width=64, sent=500_000)


# One peer of the swarm in which somebody announces.


async def talk(folder: Path, name: str, peers: Sequence[str], messages: int) -> None:
    """Listen until standard input ends, and say then how late each message was, in seconds. With messages to say, say them at a word."""
    late: list[float] = []

    def heard(message: Heard) -> None:
        if not message.backlog:
            late.append(time.monotonic() - float(message.message))

    options = GossipsubOptions(listen=LOOPBACK, peers=tuple(peers), mdns=False)
    async with GossipsubAnnouncer(options, make_context(folder, peer=name)) as announcer, trio.open_nursery() as nursery:
        nursery.start_soon(announcer.listen, ["c"], heard)
        print(announcer.transport.local_addresses()[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        for number in range(messages):
            await announcer.announce(repr(time.monotonic()).encode(), channel="c", replaces=str(number).encode())
            await trio.sleep(SAY_SECONDS)
        print("said", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel()
    print(" ".join(map(repr, late)), flush=True)


async def receive(folder: Path, hint: str, seed: int, count: int) -> None:
    """Fetch the blocks of a holder at the speed of which we speak, again and again new ones, until killed."""
    options = Libp2pStorageOptions(listen=LOOPBACK, mdns=False, cache_megabytes=64)
    context = attrs.evolve(make_context(folder, peer="receiver"), budgets=Budgets(download_bytes_per_second=RECEIVED))
    async with Libp2pStorage(options, context) as storage:
        cids = [block.cid for block in made(seed, count)]
        await storage.get(cids[:1], lambda block: None, hints=[hint])
        print("receives", flush=True)
        await storage.get(cids[1:], lambda block: None, hints=[hint])
        print("has all", flush=True)


@contextmanager
def running(what: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """This file in another part, ended at the end."""
    command = [sys.executable, __file__, "--part", what, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def word(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    print(file=process.stdin, flush=True)


def heard_after(folder: Path, size: Size) -> list[float]:
    """Milliseconds until each message was heard by each of the others."""
    with ExitStack() as stack:
        first = stack.enter_context(running("talk", folder / "first", "first", size.messages))
        address = line(first)
        others = [
            stack.enter_context(running("talk", folder / f"other{number}", f"other{number}", 0, address))
            for number in range(size.peers - 1)
        ]
        for other in others:
            line(other)
        time.sleep(5.0)  # until the mesh of gossip is made: it looks at itself each second
        for process in (*others, first):
            word(process)
        for process in (*others, first):
            assert line(process) == "said"
        time.sleep(1.0)
        for other in others:
            word(other)
        return [1e3 * float(late) for other in others for late in line(other).split()]


async def connected_after(folder: Path, size: Size) -> list[float]:
    """Milliseconds until a host that runs is connected to another process."""
    with running("talk", folder / "answers", "answers", 0) as process:
        address = line(process)
        peer = address.rpartition("/")[2]
        options = Libp2pStorageOptions(listen=LOOPBACK, mdns=False)
        took = []
        async with Libp2pStorage(options, make_context(folder / "dials", peer="dials")) as storage:
            for _ in range(size.dials):
                began = time.monotonic()
                await storage.transport.connect(peer, [address])
                took.append(1e3 * (time.monotonic() - began))
                await storage.transport.disconnect(peer)
                await trio.sleep(0.05)
        return took


def trained(seconds: float) -> tuple[float, float]:
    """CPU seconds of 1,000 steps of the common task, one thread, and the seconds on the wall."""
    training = Training(make_model(0), load(0, 20_000, 1), seed=0)
    for _ in range(50):
        training.step()
    own, begin, steps = time.process_time(), time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        training.step()
        steps += 1
    return (time.process_time() - own) / steps * 1000, time.monotonic() - begin


def show_training(folder: Path, size: Size) -> None:
    """Alone, beside a node that receives, and alone again."""
    count = max(4, int(3 * size.seconds * RECEIVED / BLOCK_BYTES))
    before, _ = trained(size.seconds)
    holder = [
        sys.executable,
        str(Path(__file__).with_name("libp2p_blocks.py")),
        "--hold",
        "blocks",
        str(folder / "holder"),
        "1",
        str(count),
    ]
    (folder / "holder").mkdir()
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            with running("receive", folder / "receiver", line(process), 1, count) as receiver:
                assert line(receiver) == "receives"
                node = psutil.Process(receiver.pid)
                at, began = cpu(node), node.io_counters().write_bytes
                beside, wall = trained(size.seconds)
                share, received = (cpu(node) - at) / wall, (node.io_counters().write_bytes - began) / wall / 1e6
        finally:
            process.kill()
    after, _ = trained(size.seconds)
    alone = statistics.mean((before, after))
    kept = alone / beside * (1.0 - share)
    rows = [
        ("CPU s of 1,000 steps, alone", f"{alone:.2f}"),
        ("the same beside a node that receives", f"{beside:.2f}"),
        ("MB/s that it received", f"{received:.1f}"),
        ("share of a core that it took", f"{share:.3f}"),
        (f"throughput kept where both share one core (goal {KEPT_GOAL})", f"{kept:.3f}"),
    ]
    show("Training beside a node that receives 10 MB/s", ("", ""), rows)


async def show_newcomer(folder: Path, size: Size) -> None:
    """Four peers with a model of some megabytes, and one that comes."""
    round_seconds = 4.0
    given = {"width": size.width, "peer": {"upload_bytes_per_second": size.sent}}
    async with member_swarm(folder, 5, round_seconds, **given) as swarm:
        *members, newcomer = swarm.members
        newcomer.given = {**newcomer.given, "wait_seconds": 2.0}
        swarm.members = members
        with trio.fail_after(LIMIT_SECONDS):
            await swarm.start()
            await swarm.merge(rounds=2)
            swarm.members.append(newcomer)
            await newcomer.start(swarm.nursery)
            began = time.monotonic()
            await newcomer.until(lambda: any(one["outcome"] == "joined" for one in newcomer.rounds))
        took = time.monotonic() - began
        (joined,) = (one for one in newcomer.rounds if one["outcome"] == "joined")
    size_of_one = size.width**2  # int8
    goal = 1.5 * size_of_one / size.sent + 2 * round_seconds
    rows = [
        ("MB of one model, as it is sent", f"{size_of_one / 1e6:.2f}"),
        ("MB/s that each member sends, at most", f"{size.sent / 1e6:.2f}"),
        ("MB that the newcomer has fetched", f"{joined['fetched_bytes'] / 1e6:.2f}"),
        ("seconds until it has joined, the start of its host and two seconds of listening included", f"{took:.1f}"),
        ("goal: 1.5 times bytes / bandwidth, and two rounds", f"{goal:.1f}"),
    ]
    show("A newcomer to four peers", ("", ""), rows)


def main(size: Size) -> None:
    print(f"{describe()}, libp2p {version('libp2p')}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="learnae-bench-") as name:
        folder = Path(name)
        connecting, heard = trio.run(connected_after, folder, size), heard_after(folder, size)
        rows = [
            (what, str(len(took)), f"{statistics.median(took):.1f}", f"{statistics.quantiles(took, n=20)[-1]:.1f}", str(goal))
            for what, took, goal in (
                ("to connect", connecting, CONNECT_GOAL),
                (f"from announcing to being heard, {size.peers} peers", heard, HEARD_GOAL),
            )
        ]
        show("Milliseconds", ("", "times", "median", "95 %", "goal for the median"), rows)
        show_training(folder, size)
        trio.run(show_newcomer, folder / "newcomer", size)


def part(what: str, folder: Path, *arguments: str) -> None:
    if what == "talk":
        name, messages, *peers = arguments
        trio.run(talk, folder, name, peers, int(messages))
    else:
        hint, seed, count = arguments
        trio.run(receive, folder, hint, int(seed), int(count))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    options.add_argument("--peers", type=int, default=FULL.peers)
    options.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    keep_memory()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))  # it would be printed among what is said
    if chosen.part:
        part(chosen.part[0], Path(chosen.part[1]), *chosen.part[2:])
    else:
        main(QUICK if chosen.quick else attrs.evolve(FULL, peers=chosen.peers))
