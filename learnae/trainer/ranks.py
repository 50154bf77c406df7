"""The processes of one `torch.distributed` job, which are one peer: what rank 0 tells the others, and how tensors go between them.

Rank 0 has the node, and decides. The others do what it says, and only where all of them call the swarm: so nothing has to be agreed on in
the steps between. All goes through a gloo group of our own, since what is shared lies in the memory of the host.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from learnae.errors import ConfigError, LearnaeError, Problem
from learnae.trainer.copying import assign
from learnae.trainer.shared_memory import CPU, plainly, zeros

FIND, LOAD, BUILD, JOINED = "find", "load", "build", "joined"  # while they join
SNAPSHOT, ADOPT, LEND, DONE = "snapshot", "adopt", "lend", "done"  # where all call the swarm
FAILED = "failed"

STEP, FLUSH, MERGED, LOADED = 1.0, 2.0, 3.0, 4.0  # what a rank calls where all ranks meet
CALLS = {STEP: "step()", FLUSH: "flush()", MERGED: "merged()", LOADED: "load_state_dict()"}

Values = Mapping[str, Any]
T = TypeVar("T")


def in_a_job() -> bool:
    """Whether this process is one of several that torch.distributed has joined."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class RankFailed(LearnaeError):
    """Another rank of this job could not go on, and has told so."""


class Ranks:
    """The ranks of this job. Of one process alone: `size` is 1, and nobody is told anything."""

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank, self.size, self._group = rank, size, group
        self._known: BaseException | None = None  # an error that all ranks know of

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str] = os.environ) -> Ranks:
        """All ranks have to call this. Raises ConfigError where several processes were started, and are no group yet."""
        if in_a_job():
            group = distributed.new_group(backend="gloo")
            return cls(distributed.get_rank(), distributed.get_world_size(), group)
        size = environ.get("WORLD_SIZE", "")
        if size.isdecimal() and int(size) > 1:
            what = f"{size} processes were started to train this model together (WORLD_SIZE), and torch.distributed was not set up"
            raise ConfigError(Problem("world_size", what, "call torch.distributed.init_process_group() before learnae.join()"))
        return cls()

    @property
    def others(self) -> range:
        """The ranks but rank 0."""
        return range(1, self.size)

    # Words. JSON, and not what torch.distributed makes of objects: that is unpickled.

    def say(self, word: str, **values: Any) -> None:
        """Rank 0 tells all others."""
        if self.size > 1:
            told = json.dumps([word, values]).encode()
            self._broadcast_bytes(torch.tensor([len(told)], dtype=torch.int64, device=CPU))
            self._broadcast_bytes(torch.frombuffer(bytearray(told), dtype=torch.uint8))

    def hear(self, *expected: str) -> tuple[str, dict[str, Any]]:
        """What rank 0 tells. Raises RankFailed if that is its end, RuntimeError for a word that is not expected here."""
        length = zeros((1,), torch.int64)
        self._broadcast_bytes(length)
        told = zeros((int(length),), torch.uint8)
        self._broadcast_bytes(told)
        word, values = json.loads(bytes(told.numpy()))
        if word == FAILED:
            raise RankFailed(f"rank 0 of this job could not go on: {values['why']}")
        if word not in expected:
            raise RuntimeError(f"rank 0 says {word!r} where {' or '.join(expected)} is due: all ranks must call the swarm alike")
        return word, values

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Rank 0 works while the others listen: if it fails, they are told, and do not wait for it."""
        try:
            yield
        except BaseException as error:
            if error is self._known:
                raise
            self.say(FAILED, why=f"{type(error).__name__}: {error}"[:2000])
            raise

    def collect(self, mine: Values) -> list[Values]:
        """What each rank says of itself, in the order of the ranks, told to all."""
        told = [mine]
        if self.size > 1:
            own = json.dumps(mine).encode()
            lengths = [zeros((1,), torch.int64) for _ in range(self.size)]
            distributed.all_gather(lengths, torch.tensor([len(own)], dtype=torch.int64, device=CPU), group=self._group)
            longest = max(map(int, lengths))
            texts = [zeros((longest,), torch.uint8) for _ in lengths]
            padded = torch.frombuffer(bytearray(own.ljust(longest)), dtype=torch.uint8)
            distributed.all_gather(texts, padded, group=self._group)
            told = [json.loads(bytes(text.numpy())) for text in texts]
        return told

    def agree(self, work: Callable[[], T]) -> T:
        """What `work` gives, if no rank fails in it. Else each raises: its own error, or RankFailed."""
        error: Exception | None = None
        result: list[T] = []
        try:
            result.append(work())
        except Exception as raised:
            error = raised
        told = self.collect({"why": "" if error is None else f"{type(error).__name__}: {error}"[:2000]})
        for rank, one in enumerate(told):
            if error is None and one["why"]:
                error = RankFailed(f"rank {rank} of this job could not go on: {one['why']}")
        if error is not None:
            self._known = error
            raise error
        return result[0]

    def meet(self, call: float, steps: int, *numbers: float) -> list[float]:
        """All ranks are here, by the same call after as many steps: the sum of each number. Else all of them raise RuntimeError."""
        calls, steps_there, squares, *sums = self.total(call, steps, call**2 + steps**2, *numbers)
        if (calls, steps_there, squares) != (self.size * call, self.size * steps, self.size * (call**2 + steps**2)):
            here = f"{CALLS[call]} after {steps} steps here, {steps_there / self.size:g} steps on average"
            raise RuntimeError(f"the ranks of this job do not call the swarm alike: {here}; all have to make the same calls, in one order")
        return sums

    def total(self, *numbers: float) -> list[float]:
        """The sum of each number over all ranks, told to all."""
        sums = torch.tensor(numbers, dtype=torch.float64, device=CPU)
        if self.size > 1:
            distributed.all_reduce(sums, group=self._group)
        return sums.tolist()

    # Tensors of the model. They may lie anywhere; what travels lies in the memory of the host.

    def broadcast(self, tensor: Tensor) -> None:
        """All ranks have afterwards what rank 0 has, bit by bit."""
        if self.size == 1 or tensor.numel() == 0:
            return
        with plainly():
            held = tensor.detach().to("cpu").contiguous()
            self._broadcast_bytes(held.reshape(-1).view(torch.uint8))
            if self.rank:
                assign(tensor, held)

    def send(self, tensor: Tensor, rank: int) -> None:
        with plainly():
            distributed.send(tensor.detach().to("cpu", torch.float32).contiguous(), rank, group=self._group)

    def receive(self, into: Tensor, rank: int) -> None:
        """A contiguous tensor of float32, on the CPU."""
        with plainly():
            distributed.recv(into, rank, group=self._group)

    def _broadcast_bytes(self, tensor: Tensor) -> None:
        distributed.broadcast(tensor, 0, group=self._group)
