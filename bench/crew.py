"""The worker processes of a benchmark: started together, heard line by line, ended for sure, also when the benchmark is interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import psutil

WORKER = Path(__file__).with_name("worker.py")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
MEET_SECONDS = 400.0  # beside much other work a start takes minutes
SILENT_SECONDS = 600.0
LEAVE_SECONDS = 10.0
LAST_LINES = 40


class WorkerEnded(Exception):
    """A worker ended before it had said what was expected of it."""


class Worker:
    """One process that speaks JSON lines."""

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        self.folder, self.rank = folder, spec["rank"]
        environment = {**os.environ, **ONE_THREAD, "XDG_STATE_HOME": str(folder / "state")}
        command = [sys.executable, str(WORKER), json.dumps({**spec, "folder": str(folder)})]
        self._errors = (folder / f"worker-{spec['rank']}.log").open("w+")
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, start_new_session=True
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._pump, daemon=True).start()

    def say(self, word: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(word, file=self.process.stdin, flush=True)

    def hear(self, seconds: float = SILENT_SECONDS) -> dict[str, Any]:
        """Its next line. Raises WorkerEnded, also for one that is silent for so long."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise WorkerEnded(f"nothing within {seconds} s") from None
        if line is None:
            self._lines.put(None)
            raise WorkerEnded(self.last_words())
        return line

    def hear_until(self, last: str) -> list[dict[str, Any]]:
        """All that it says up to the first line of this kind, with it."""
        said = [self.hear()]
        while said[-1]["is"] != last:
            said.append(self.hear())
        return said

    def last_words(self) -> str:
        self._errors.seek(0)
        return "\n".join(self._errors.read().strip().splitlines()[-LAST_LINES:]) or f"exit code {self.process.poll()}"

    @property
    def nodes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def kill(self) -> None:
        """As a power cut would: trainer and node at once."""
        for process in (*self.nodes, psutil.Process(self.process.pid)):
            process.kill()

    def close(self) -> None:
        self.process.wait()
        self._errors.close()

    def _pump(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # cut off within a line
            for line in self.process.stdout:
                self._lines.put(json.loads(line))
        self._lines.put(None)


@attrs.frozen
class Start:
    """What the peers needed before the first step: to be stated beside what followed."""

    wall_seconds: float
    cpu_seconds: float  # of all, with imports, data and meeting each other


@contextlib.contextmanager
def crew(specs: Sequence[dict[str, Any]]) -> Iterator[list[Worker]]:
    """These workers, in a folder of their own; at the end none of their processes is left."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    workers: list[Worker] = []
    try:
        with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
            try:
                workers.extend(Worker(spec, Path(folder)) for spec in specs)  # those that were made are there when one fails
                yield workers
            finally:
                _end(workers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def peers(count: int, **spec: Any) -> list[dict[str, Any]]:
    return [{**spec, "rank": rank, "peers": count} for rank in range(count)]


def meet(workers: Sequence[Worker]) -> Start:
    """Wait until all are ready and name the same lineage; then let them begin."""
    began, deadline = time.monotonic(), time.monotonic() + MEET_SECONDS
    said = [worker.hear(MEET_SECONDS) for worker in workers]
    while len({line["lineage"] for line in said}) > 1 or not said[0]["lineage"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the workers did not find each other within {MEET_SECONDS} s")
        said = [worker.hear(MEET_SECONDS) for worker in workers]
    for worker in workers:
        worker.say("go")
    return Start(time.monotonic() - began, sum(line["cpu_seconds"] for line in said))


def _end(workers: Sequence[Worker]) -> None:
    processes = [process for worker in workers for process in (*worker.nodes, worker.process)]
    for worker in workers:
        worker.process.terminate()
    _, alive = psutil.wait_procs([_watched(process) for process in processes if _watched(process)], LEAVE_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for worker in workers:
        worker.close()


def _watched(process: Any) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process if isinstance(process, psutil.Process) else psutil.Process(process.pid)
    return None


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)
