"""What gathering costs a node: `python bench/sensors.py [--sensors 50] [--seconds 120] [--quick]`.

A real trainer with a real node gathers, over folders. This process plays fifty sensors, each an identity of its own, with a message of one
reading in two seconds, all written where the announcer `directory` looks. The CPU is that of the node's process: first without a sensor,
then with all. It also starts one real sensor, alone in its process, and says what that takes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import psutil
import torch
from machine import describe
from tables import show

import learnae
from learnae.data.pool import Pool
from learnae.data.readings import ReadingFormat, declared
from learnae.identity.envelopes import encode_envelope, place_of
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity
from learnae.plugins.directory.bulletin import channel_folder, post
from learnae.records import Announcement, Sample

NAME = "sensors-bench"
COLUMNS = {"temperature": "float32", "humidity": "float32", "pressure": "float32", "rain": "int64"}
EVERY_SECONDS = 2.0
GATHER_ROWS = 32


@attrs.define
class PlayedSensors:
    """So many identities that send by turns, evenly over the time between two of their messages."""

    board: Path
    count: int
    sent: int = 0
    _over: threading.Event = attrs.field(factory=threading.Event)

    def run(self) -> None:
        swarm, packing = SwarmIdentity(NAME), ReadingFormat(declared(COLUMNS, "rain"), "CC0-1.0")
        identities = [Identity.generate(place.to_bytes(32, "big")) for place in range(1, self.count + 1)]
        folder, rng, began = channel_folder(self.board, swarm.channel), np.random.default_rng(0), time.monotonic()
        for turn in range(1 << 30):
            number, place = divmod(turn, self.count)
            if self._over.wait(max(0.0, began + turn * EVERY_SECONDS / self.count - time.monotonic())):
                return
            values = rng.random(3)
            reading = dict(zip(COLUMNS, [*values, int(values[0] > 0.5)], strict=True))
            sample = Sample(packing.payload(number, [packing.pack(reading)]))
            announcement = Announcement(swarm=swarm.id, peer=identities[place].peer, number=number + 1, body=sample)
            post(folder, swarm.alias(place_of(announcement)), encode_envelope(identities[place], announcement))
            self.sent += 1

    def stop(self) -> None:
        self._over.set()


@contextmanager
def training(folder: Path) -> Iterator[psutil.Process]:
    """A peer that trains slowly and gathers. Gives its node's process."""
    settings: dict[str, Any] = {
        "peer": {"home": str(folder / "home")},
        "announcer": {"use": "directory", "path": str(folder / "board")},
        "storage": {"use": "directory", "path": str(folder / "blocks")},
        "train": {"local_steps": 10_000, "round_seconds": 10.0},
        "data": {"gather": True, "gather_rows": GATHER_ROWS, "accept_bytes": 50_000_000},
    }
    torch.set_num_threads(1)
    model = torch.nn.Linear(3, 2)
    rows = {name: np.zeros(64, "int64" if kind == "int64" else kind) for name, kind in COLUMNS.items()}
    over = threading.Event()
    with learnae.join(model, NAME, config=settings) as swarm:
        swarm.dataset(rows, label="rain", labels=range(2))

        def step() -> None:
            while not over.wait(0.2):
                swarm.step(num_samples=8)

        stepping = threading.Thread(target=step)
        stepping.start()
        try:
            yield next(child for child in psutil.Process().children(recursive=True) if "learnae.node" in child.cmdline())
        finally:
            over.set()
            stepping.join()


def cpu_share(process: psutil.Process, seconds: float) -> float:
    """The share of one core that a process takes in that time."""
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)


def gathered(folder: Path) -> tuple[int, int]:
    """Rows in the pool, and their givers."""
    entries = Pool(folder / "home", 50_000_000).entries()
    return sum(one.rows for one in entries), len({peer for one in entries for peer in one.providers})


def all_gathered(folder: Path, whole: int) -> tuple[int, int]:
    """When all whole ranges are in the pool, four slices in five seconds, or after two minutes."""
    end = time.monotonic() + 120.0
    while (found := gathered(folder))[0] < whole and time.monotonic() < end:
        time.sleep(1.0)
    return found


DEVICE = """
import json, time
import learnae
with learnae.sensor({name!r}, config={config!r}, columns={columns!r}, licence="CC0-1.0", home={home!r}) as sensor:
    ready, seconds = time.process_time(), {seconds}
    for number in range(int(seconds)):
        sensor.send(dict(temperature=1.0, humidity=2.0, pressure=3.0, rain=0))
        time.sleep(1.0)
cpu = time.process_time() - ready
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps(dict(start=ready, share=cpu / seconds, sent=sensor.sent, mib=int(status["VmHWM"].split()[0]) / 1024)))
"""


def device(folder: Path, seconds: float) -> dict[str, float]:
    """A sensor of its own, with a reading each second."""
    config = {"announcer": {"use": "directory", "path": str(folder / "board-of-one")}}
    code = DEVICE.format(name=NAME, config=config, columns=COLUMNS, home=str(folder / "device"), seconds=seconds)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts: dict[str, float] = json.loads(done.stdout)
    return facts


def main(count: int, seconds: float) -> None:
    print(describe())
    with tempfile.TemporaryDirectory(prefix="learnae-sensors-") as name:
        folder = Path(name)
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        alone = device(folder, min(30.0, seconds))
        with training(folder) as node:
            time.sleep(min(20.0, seconds))
            idle = cpu_share(node, seconds)
            played = PlayedSensors(folder / "board", count)
            thread = threading.Thread(target=played.run)
            thread.start()
            time.sleep(10.0)  # what a new key costs once
            busy = cpu_share(node, seconds)
            whole = GATHER_ROWS * (played.sent // count // GATHER_ROWS) * count
            played.stop()
            thread.join()
            rows, givers = all_gathered(folder, whole)
    show(
        f"{count} sensors with a message in {EVERY_SECONDS:g} s each, for {seconds:.0f} s",
        ("node", "share of a core", "readings sent", "rows in the pool", "sensors in it", "lost of the ranges that were whole"),
        [
            ("without sensors", f"{100 * idle:.1f} %", "0", "0", "0", ""),
            ("with all", f"{100 * busy:.1f} %", f"{played.sent:,}", f"{rows:,}", f"{givers}", f"{whole - rows:,}"),
        ],
    )
    row = (f"{alone['start']:.2f} s", f"{100 * alone['share']:.1f} %", f"{alone['mib']:.0f} MiB", f"{alone['sent']:.0f}")
    show("A sensor by itself, a reading each second", ("CPU until it is ready", "share of a core", "memory", "readings sent"), [row])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--quick", action="store_true", help="only whether it runs")
    given = parser.parse_args()
    main(5, 10.0) if given.quick else main(given.sensors, given.seconds)
