"""The CPU that one node spends on the values of a round, in one process and one thread: `python bench/round_work.py [--quick] [--numpy]`.

The real codec, packing, checks, gates of the default preset, merge, outer step and writing, with two updates of others; no files, no
processes, no waiting. So it tells what changes in the code change, also on a busy machine. Beside it what gloo does to the same values at
least: a copy into a flat buffer, a sum of two, a division, a copy back. Medians of CPU milliseconds.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

if "--numpy" in sys.argv:
    sys.modules["learnae_kernels"] = None  # type: ignore[assignment]  # so Python says that there is none

from machine import describe
from round_cost import WIDTHS
from tables import show

from learnae import kernels
from learnae.content.cids import raw_cid
from learnae.content.pack import Packed, pack
from learnae.content.unpack import Content
from learnae.node.claims import bounded
from learnae.node.decoding import Decoder, LazyMasks, LazyTensors
from learnae.node.judging import GateChain
from learnae.node.merging import Merger
from learnae.node.runtime import Outages, keep_memory
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.node.tensors import encode_raw, travels_raw
from learnae.plugins.balance import BalanceOwn
from learnae.plugins.codec import Int8
from learnae.plugins.gate import Sane, length
from learnae.plugins.merge import Average
from learnae.plugins.outer import QuasiGlobal
from learnae.plugins.progress import OwnPace, Progress
from learnae.readers import ModelInMemory
from learnae.records import AnnouncementKind, Encoded, LocalModel, Received, TensorSpec
from learnae.sketches import Sketcher
from learnae.testing.context import make_context, peer_named
from learnae.testing.models import received

Model = dict[str, Any]


class Clock:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.took: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.took[part].append(time.thread_time() - began)


class Peer:
    """What a node needs for the values alone."""

    def __init__(self, widths: tuple[int, ...], folder: Path) -> None:
        context = make_context(folder)
        layers = list(enumerate(itertools.pairwise(widths)))
        shapes = {f"{number}.weight": (out, into) for number, (into, out) in layers} | {
            f"{number}.bias": (out,) for number, (_, out) in layers
        }
        self.specs = {name: TensorSpec(name=name, dtype="float32", shape=shape) for name, shape in shapes.items()}
        self.codec = self._named(Int8(None, context))
        gates = [self._named(gate(gate.Options(), context)) for gate in (Sane, BalanceOwn, Progress, OwnPace)]
        self.chain = GateChain(gates, Outages(context.log))
        self.merger = Merger(
            self._named(Average(Average.Options(), context)), self._named(QuasiGlobal(QuasiGlobal.Options(), context)), self.specs
        )
        self.sketcher, self.gate_states, self.states = Sketcher.for_specs(self.specs.values()), {}, {}

    def _named(self, strategy: Any) -> ConfiguredStrategy[Any]:
        return ConfiguredStrategy(type(strategy).__name__.lower(), "learnae", strategy)

    def model(self, rng: np.random.Generator, near: Model | None = None) -> Model:
        return {
            name: rng.standard_normal(spec.shape, np.float32) * np.float32(0.02 if near is None else 0.0005)
            + (0 if near is None else near[name])
            for name, spec in self.specs.items()
        }

    def entries(self, model: Model) -> Iterator[tuple[TensorSpec, Encoded]]:
        for name, spec in self.specs.items():
            raw = travels_raw(spec, self.codec.strategy.small)
            yield spec, encode_raw(spec, model[name]) if raw else self.codec.strategy.encode(name, model[name], None, None)

    def pack(self, model: Model) -> Packed:
        return pack(self.entries(model), peer=peer_named("b"), kind=AnnouncementKind.UPDATE, number=1, codec="int8")


def round_(peer: Peer, start: Model, current: Model, others: list[Packed], page: Model, clock: Clock) -> None:
    snapshot = ModelInMemory(current)
    with clock("check of the snapshot"):
        assert math.isfinite(length(snapshot))
    with clock("encode"):
        entries = list(peer.entries(current))
    with clock("pack, with hashes"):
        pack(entries, peer=peer_named("b"), kind=AnnouncementKind.UPDATE, number=1, codec="int8")
    with clock("sketch"):
        peer.sketcher.sketch(snapshot)
    with clock("hashes of two updates"):
        for packed in others:
            assert all(raw_cid(block.data) for block in packed.blocks)
    with clock("check of what came"):
        decoders = [
            Decoder(Content(one.meta, one.data_cids, {b.cid: b.data for b in one.blocks}), peer.codec, peer.specs) for one in others
        ]
        for decoder in decoders:
            decoder.check()
    local = LocalModel(start=ModelInMemory(start), current=snapshot, age=100, samples=100)
    with clock("gates"):
        items = [_received(decoder, local, number) for number, decoder in enumerate(decoders)]
        judgements, peer.gate_states = peer.chain.judge(local, items, peer.gate_states)
        assert all(judgement.accepted for judgement in judgements), [judgement.reason for judgement in judgements]
    with clock("merge, outer step, check, page"):
        accepted = bounded([judgement.received for judgement in judgements], {})
        peer.states = peer.merger.run(local, accepted, page, peer.states)


def _received(decoder: Decoder, local: LocalModel, number: int) -> Received:
    tensors = LazyTensors(decoder, local.current)
    plain = received({}, peer=f"peer {number}")
    return Received(peer=plain.peer, update=plain.update, tensors=tensors, masks=LazyMasks(tensors), sound=decoder.sound)


def gloo(model: Model, clock: Clock) -> None:
    flat = np.empty(sum(tensor.size for tensor in model.values()), np.float32)
    other = np.ones_like(flat)
    with clock("gloo at least"):
        at = 0
        for tensor in model.values():
            flat[at : at + tensor.size] = tensor.reshape(-1)
            at += tensor.size
        flat += other
        flat /= 2
        at = 0
        for tensor in model.values():
            tensor.reshape(-1)[:] = flat[at : at + tensor.size]
            at += tensor.size


def main(sizes: list[str], rounds: int) -> None:
    print(describe(), f"kernels: {'compiled' if kernels.COMPILED else 'numpy'}", sep="\n")
    clocks = {name: measure(WIDTHS[name], rounds) for name in sizes}
    parts = [part for part in clocks[sizes[0]].took if part != "gloo at least"]
    rows = [(part, *(_ms(statistics.median(clock.took[part])) for clock in clocks.values())) for part in parts]
    rows.append(("all", *(_ms(sum(statistics.median(clock.took[part]) for part in parts)) for clock in clocks.values())))
    rows.append(("gloo at least", *(_ms(statistics.median(clock.took["gloo at least"])) for clock in clocks.values())))
    show("CPU of a round, by part", ("ms", *sizes), rows)


def measure(widths: tuple[int, ...], rounds: int) -> Clock:
    rng, clock = np.random.default_rng(0), Clock()
    with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
        peer = Peer(widths, Path(folder))
        start = peer.model(rng)
        page = {name: np.empty_like(tensor) for name, tensor in start.items()}
        current = peer.model(rng, start)
        others = [peer.pack(peer.model(rng, start)) for _ in range(2)]
        for number in range(rounds + 2):
            round_(peer, start, current, others, page, Clock() if number < 2 else clock)
            gloo(page, Clock() if number < 2 else clock)
    return clock


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


if __name__ == "__main__":
    keep_memory()
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="the smallest model and few rounds: whether it runs")
    options.add_argument("--numpy", action="store_true", help="without the compiled kernels, as where nobody has built them")
    options.add_argument("--rounds", type=int, default=9)
    chosen = options.parse_args()
    main(["0.14 M"] if chosen.quick else ["0.14 M", "18.9 M"], 3 if chosen.quick else chosen.rounds)
