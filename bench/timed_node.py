"""The node with a stopwatch at its parts: after each round it adds up the wall and CPU seconds of each into a file of JSON lines.

What a part calls that is a part itself counts for that one only. CPU is that of the thread, so what runs beside it is not counted.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

import learnae.node.fetching
import learnae.node.node
import learnae.node.publishing
import learnae.node.sending
import learnae.node.services
import learnae.plugins.codec
import learnae.plugins.directory.announcer
import learnae.plugins.directory.search
from learnae.node.__main__ import run
from learnae.node.decoding import Decoder
from learnae.node.history import History
from learnae.node.judging import GateChain
from learnae.node.merging import Merger, ModelWriter
from learnae.node.node import Node
from learnae.node.obtaining import BackgroundFetches
from learnae.node.publishing import Publisher
from learnae.node.rounds import MergeBuffers, Rounds
from learnae.node.runtime import keep_memory
from learnae.plugins.codec import Int8
from learnae.plugins.directory.packs import Pack, PackWriter
from learnae.plugins.directory.storage import DirectoryStorage
from learnae.plugins.merge import Average

PARTS: dict[str, list[tuple[Any, str]]] = {
    "check of the snapshot": [(learnae.node.node, "length")],
    "encode": [(Int8, "encode")],
    "pack, with hashes": [(learnae.node.publishing, "pack")],
    "put": [(PackWriter, "add_all"), (PackWriter, "commit")],
    "announce": [(learnae.node.sending, "encode_envelope"), (learnae.plugins.directory.announcer, "post")],
    "fetch: find and read": [(learnae.plugins.directory.search, "look"), (Pack, "index"), (Pack, "read")],
    "fetch: hashes": [(learnae.plugins.directory.search, "check"), (learnae.node.services, "check"), (learnae.node.fetching, "check")],
    "check of what came": [(Decoder, "check")],
    "decode": [(Decoder, "decode"), (learnae.plugins.codec.kernels, "dequantise")],
    "gates": [(GateChain, "judge")],
    "merge": [(Average, "combine"), (Average, "combine_into")],
    "stack, check and write the page": [(ModelWriter, "write")],
    "history": [(History, name) for name in ("next_number", "add_published", "drop_published", "published")] + [(Node, "_write")],
    "drop old blocks": [(DirectoryStorage, "_unlink")],
}
STAGES: dict[str, list[tuple[Any, str]]] = {
    "publish: number, encode, pack, put, announce": [(Publisher, "publish")],
    "fetch: manifest and blocks, with hashes": [(BackgroundFetches, "obtain")],
    "judge: decode, gates": [(GateChain, "judge")],
    "merge: decode, combine, write the page": [(Merger, "run")],
    "hand over, until adopted": [(MergeBuffers, "hand_over")],
    "exchange in all": [(Rounds, "exchange")],
    "write the history, drop old blocks": [(Node, "_end_round")],
}


class Stopwatch:
    """Sums of wall and CPU seconds by name. Of two nested ones, the outer has what the inner has not."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._lock, self._local = threading.Lock(), threading.local()

    def put_on(self, name: str, owner: Any, attribute: str) -> None:
        """Time every call of `owner.attribute`."""
        function = getattr(owner, attribute)
        wrap = self._around_async if inspect.iscoroutinefunction(function) else self._around
        setattr(owner, attribute, wrap(name, function))

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            stack = self._local.__dict__.setdefault("stack", [])
            stack.append([0.0, 0.0])
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
                inner_wall, inner_cpu = stack.pop()
                if stack:
                    stack[-1][0] += wall
                    stack[-1][1] += cpu
                self._add(name, wall - inner_wall, cpu - inner_cpu)

        return timed

    def _around_async(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await function(*args, **kwargs)
            finally:
                self._add(name, time.perf_counter() - began, 0.0)

        return timed

    def _add(self, name: str, wall: float, cpu: float) -> None:
        with self._lock:
            self.sums[name][0] += wall
            self.sums[name][1] += cpu


def main(out: Path) -> int:
    parts, stages = Stopwatch(), Stopwatch()
    for watch, places in ((parts, PARTS), (stages, STAGES)):
        for name, functions in places.items():
            for owner, attribute in functions:
                watch.put_on(name, owner, attribute)
    _write_after_each_round(out, parts, stages)
    keep_memory()
    return int(trio.run(run))


def _write_after_each_round(out: Path, parts: Stopwatch, stages: Stopwatch) -> None:
    make_round = Node._make_round

    async def timed(node: Node, *args: Any) -> None:
        await make_round(node, *args)
        with out.open("a") as file:
            print(json.dumps({"parts": parts.sums, "stages": stages.sums}), file=file)

    Node._make_round = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv.pop(1))))
