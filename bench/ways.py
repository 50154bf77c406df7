"""The ways to train that are compared: alone, with gloo's all-reduce as local SGD, in a swarm."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import psutil
import torch
from task import BATCH
from torch import nn

import learnae
from learnae.trainer.status import SwarmSettings

ANNOUNCEMENT_BYTES = 1090  # the most that one may have
EXCHANGE_SECONDS = 60.0
DIRECT = {"listen": ["/ip4/127.0.0.1/tcp/0"]}  # they find each other by multicast, which does not leave loopback then
OVER_LIBP2P = {"swarm": {"open": True}, "storage": {"use": "libp2p", **DIRECT}, "announcer": {"use": "gossipsub", **DIRECT}}
TIMED_NODE = Path(__file__).with_name("timed_node.py")


class Way(Protocol):
    """How a peer's model meets those of the others. `merges` counts how often it did, from the beginning."""

    merges: int

    def meet(self) -> str:
        """Wait a moment for the others; returns what all must have in common before they begin, or nothing."""

    def after_step(self) -> None:
        """After each optimiser step: merges when it is time."""

    def exchange(self) -> None:
        """One whole round now: from the model as it is to the merged one."""

    def merged(self) -> AbstractContextManager[object]:
        """The model holds what the last merge made; at the end what is trained is back."""

    def cpu_seconds(self) -> float:
        """Of this peer's other process."""

    def received(self) -> list[int]:
        """All bytes that had come from others at each merge."""

    def leave(self) -> None: ...


def make(model: nn.Module, optimizer: torch.optim.Optimizer, spec: dict[str, Any]) -> Way:
    match spec["way"]:
        case "gloo":
            return Gloo(model, spec)
        case "learnae" | "learnae over libp2p":
            return Swarm(model, optimizer, spec)
    return Alone()


class Alone:
    """Nobody is there."""

    merges = 0

    def meet(self) -> str:
        return "alone"

    def after_step(self) -> None:
        return

    def exchange(self) -> None:
        return

    def merged(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def cpu_seconds(self) -> float:
        return 0.0

    def received(self) -> list[int]:
        return []

    def leave(self) -> None:
        return


class Gloo(Alone):
    """torch.distributed on the loopback: the mean of all parameters every so many steps, through one flat buffer."""

    def __init__(self, model: nn.Module, spec: dict[str, Any]) -> None:
        where = f"file://{spec['folder']}/rendezvous"
        torch.distributed.init_process_group("gloo", init_method=where, rank=spec["rank"], world_size=spec["peers"])
        self._peers, self._local_steps, self._steps, self.merges = spec["peers"], spec["local_steps"], 0, 0
        self._parameters = [parameter.detach() for parameter in model.parameters()]
        counts = [parameter.numel() for parameter in self._parameters]
        self._flat = torch.empty(sum(counts))
        self._views = [view.view_as(like) for view, like in zip(self._flat.split(counts), self._parameters, strict=True)]

    def meet(self) -> str:
        torch.distributed.barrier()
        return "gloo"

    def after_step(self) -> None:
        self._steps += 1
        if self._steps % self._local_steps == 0:
            self.exchange()

    def exchange(self) -> None:
        for view, parameter in zip(self._views, self._parameters, strict=True):
            view.copy_(parameter)
        torch.distributed.all_reduce(self._flat)
        self._flat /= self._peers
        for view, parameter in zip(self._views, self._parameters, strict=True):
            parameter.copy_(view)
        self.merges += 1

    @contextlib.contextmanager
    def merged(self) -> Iterator[None]:
        trained = [parameter.clone() for parameter in self._parameters]
        for view, parameter in zip(self._views, self._parameters, strict=True):
            parameter.copy_(view if self.merges else parameter)
        yield
        for before, parameter in zip(trained, self._parameters, strict=True):
            parameter.copy_(before)

    def received(self) -> list[int]:
        """A ring passes 2 (n - 1) / n of the buffer through each peer."""
        one = 2 * (self._peers - 1) * self._flat.nbytes // self._peers
        return [one * merges for merges in range(self.merges + 1)]

    def leave(self) -> None:
        torch.distributed.destroy_process_group()


class Swarm(Alone):
    """learnae.join() with everything at its default but `local_steps`, what the spec's "config" says, and the media by the way's name."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, spec: dict[str, Any]) -> None:
        said = spec.get("config", {})
        config = {
            **said,
            "train": {"local_steps": spec["local_steps"], **said.get("train", {})},
            **(OVER_LIBP2P if "libp2p" in spec["way"] else {}),
        }
        self._others = spec["peers"] - 1
        with _timed_node(spec) if spec.get("timed") else contextlib.nullcontext():
            self._swarm = learnae.join(model, "bench", config=config, optimizer=optimizer, log={"level": "warning"})
        (self._node,) = psutil.Process().children()  # none: it has ended already, and said why on stderr
        self._reports: list[Any] = []

    @property
    def merges(self) -> int:  # type: ignore[override]
        return self._swarm.status.adoptions

    def meet(self) -> str:
        self._swarm.flush(0.2)
        return self._swarm.status.lineage.hex()

    def after_step(self) -> None:
        self._swarm.step(num_samples=BATCH)

    def exchange(self) -> None:
        self._swarm.flush(EXCHANGE_SECONDS)

    def merged(self) -> AbstractContextManager[object]:
        return self._swarm.merged()

    def cpu_seconds(self) -> float:
        times = self._node.cpu_times()
        return float(times.user + times.system)

    def received(self) -> list[int]:
        """By the reports of the rounds, each of which gives one merge; of the announcements as much as there can be."""
        self._reports += self._swarm.reports()
        heard = self._others * ANNOUNCEMENT_BYTES
        totals = itertools.accumulate(((report.fetched_bytes + heard, report.outcome) for report in self._reports), _add, initial=(0, ""))
        return [0, *(total for total, outcome in totals if outcome not in ("", "alone"))]

    def leave(self) -> None:
        self._swarm.leave()


def _add(total: tuple[int, str], report: tuple[int, str]) -> tuple[int, str]:
    return total[0] + report[0], report[1]


def _timed_node(spec: dict[str, Any]) -> Any:
    """Starts the node with a stopwatch at its parts."""
    command = (sys.executable, str(TIMED_NODE), str(Path(spec["folder"]) / f"times-{spec['rank']}.jsonl"))
    return mock.patch("learnae.trainer.join.SwarmSettings", partial(SwarmSettings, command=command))
