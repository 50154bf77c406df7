"""A node without a network: it averages what it is given with a constant. Its config says how it misbehaves, and in which session."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import trio

from learnae.errors import ConfigError, PluginError, Problem
from learnae.link.messages import MergeResult, Snapshot, Start, TrainerGoneError
from learnae.link.node_end import NodeLink, open_link
from learnae.observations import RoundReport

LINEAGE = b"lineage8"


def report(number: int) -> RoundReport:
    return RoundReport(
        round=number,
        seconds=0.1,
        lineage=LINEAGE,
        age=7,
        published=None,
        published_bytes=0,
        fetched_bytes=0,
        heard=2,
        chosen=2,
        merged=1,
        refused=1,
        failed=0,
        outcome="merged",
    )


def count_start(home: str) -> int:
    """How many nodes there were before this one."""
    starts = Path(home) / "starts"
    before = len(starts.read_text()) if starts.exists() else 0
    starts.write_text("x" * (before + 1))
    return before


async def main() -> int:
    try:
        start, link = await open_link(sys.argv[1:])
    except TrainerGoneError:
        return 0
    before = count_start(start.home)
    hello = f"{start.hello.run} {start.hello.progress.adoption} {start.hello.resumed} {start.hello.resumed_adoption}\n"
    with (Path(start.home) / "hellos").open("a") as file:
        file.write(hello)
    try:
        await follow(start, link, start.config.get("faults", {}).get(str(before), ""))
    except TrainerGoneError:
        (Path(start.home) / "goodbye").write_text("said")
    except ConfigError as error:
        link.fail(error)
        return 2
    except PluginError as error:
        link.fail(error)
        return 3
    finally:
        with trio.CancelScope(shield=True):
            await link.aclose()
    return 0


async def follow(start: Start, link: NodeLink, fault: str) -> None:
    match fault:
        case "config":
            raise ConfigError(Problem("merge.use", 'no merge is called "avrage"', 'did you mean "average"?'))
        case "plugin":
            raise PluginError("broken", "making it", "it is broken")
        case "crash":
            os._exit(1)
        case "stay":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            await link.next_snapshot()
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
    await rounds(start, link, fault)


async def rounds(start: Start, link: NodeLink, fault: str) -> None:
    number = 0
    while True:
        snapshot = await link.next_snapshot()
        if fault == "die-with-snapshot":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "alone":
            link.release(snapshot.slot)
            continue
        merge(link, snapshot, start.config.get("constant", 1.0))
        wrong = 5 if fault == "wrong-number" else 1
        adoption = snapshot.progress.adoption
        gain = start.config.get("gain", 0)
        link.offer(MergeResult(link.hello.session, adoption + wrong, adoption % 2, snapshot.slot, LINEAGE, gain, "merged"))
        if fault == "die-after-offer":
            await trio.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
        await link.adopted(adoption + 1)
        link.release(snapshot.slot)
        number += 1
        link.send_report(report(number), {"storage": "it is full"})


def merge(link: NodeLink, snapshot: Snapshot, constant: float) -> None:
    page = link.page(snapshot.progress.adoption % 2)
    for name, array in snapshot.tensors.items():
        page[name][...] = (array + constant) / 2 if array.dtype == np.float32 else np.maximum(array, int(constant))


if __name__ == "__main__":
    sys.exit(trio.run(main))
