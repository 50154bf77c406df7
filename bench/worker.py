"""One peer of a benchmark: started by crew.py with its task as JSON, says JSON lines, and does what it is told by single words."""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any

import task
import torch
import ways


def main(spec: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    if spec["job"] == "rounds":
        exchange(spec)
    else:
        train(spec)


def train(spec: dict[str, Any]) -> None:
    """So many steps; a line after each merge (alone: after each `local_steps`)."""
    share = {"rank": spec.get("share", spec["rank"]), "peers": spec["shares"], "divided": spec.get("divided", False)}
    data = task.load(spec["seed"], spec["rows"], spec["test_rows"], **share)
    training = task.Training(task.make_model(spec["seed"]), data, seed=spec["seed"] * 1000 + spec["rank"])
    way = ways.make(training.model, training.optimizer, spec)
    meet(way)
    points, every = Points(way, training.model), spec.get("look_steps") or 0
    for step in range(1, spec["steps"] + 1):
        training.step()
        way.after_step()
        points.note(step, due=spec["way"] == "alone" and step % spec["local_steps"] == 0)
        if every and step % every == 0:
            points.look()
    end = points.point(spec["steps"])
    say("trained", end=end)
    await_word()
    kept = {"accuracies": points.copies, "trained": points.trained, "merged": points.merged}
    examined = {name: [score(training.model, data, copy) for copy in copies] for name, copies in kept.items()}
    say("finished", began=points.began, received=points.received(), **examined)
    way.leave()


class Points:
    """Where the peer stood after each merge. The models are kept, and examined when all is over."""

    def __init__(self, way: ways.Way, model: torch.nn.Module) -> None:
        self._way, self._model = way, model
        self.began, self._cpu, self._cpu_of_node = time.monotonic(), time.process_time(), way.cpu_seconds()
        self._first = self._merges = way.merges
        self.copies: list[torch.Tensor] = []
        self.trained: list[torch.Tensor] = []
        self.merged: list[torch.Tensor] = []
        self._merged_at: list[int] = []

    def note(self, step: int, *, due: bool) -> None:
        merges = self._way.merges
        if due or merges > self._merges:
            self._merges = merges
            self._merged_at.append(merges)
            self.copies.append(self._copy())
            say("point", **self.point(step))

    def look(self) -> None:
        """At a moment that no merge chooses: the model that is trained, and the one that a user is told to evaluate."""
        self.trained.append(self._copy())
        with self._way.merged():
            self.merged.append(self._copy())

    def _copy(self) -> torch.Tensor:
        return torch.nn.utils.parameters_to_vector(self._model.parameters()).detach()

    def point(self, step: int) -> dict[str, Any]:
        own, nodes = time.process_time() - self._cpu, self._way.cpu_seconds() - self._cpu_of_node
        return {"step": step, "at": time.monotonic(), "trainer_cpu": own, "node_cpu": nodes}

    def received(self) -> list[int]:
        """Bytes at each point, from the beginning of the training."""
        totals = self._way.received() or [0]
        return [totals[min(merges, len(totals) - 1)] - totals[min(self._first, len(totals) - 1)] for merges in self._merged_at]


def exchange(spec: dict[str, Any]) -> None:
    """Rounds without training in between: the model is moved a little, and all begin together, unless they are free to hurry."""
    model = task.make_model(spec["seed"], tuple(spec["widths"]))
    way = ways.make(model, task.make_optimizer(model), spec)
    meet(way)
    for _ in range(spec["rounds"]):
        move(model)
        if not spec.get("free"):
            say("ready")
            await_word()
        cpu, cpu_of_node, began = time.process_time(), way.cpu_seconds(), time.monotonic()
        way.exchange()
        took, own = time.monotonic() - began, time.process_time() - cpu
        time.sleep(spec.get("pause_seconds", 0.0))  # what the node does after the trainer has gone on belongs to the round
        say("round", wall=took, trainer_cpu=own, node_cpu=way.cpu_seconds() - cpu_of_node, merges=way.merges)
    say("finished")
    await_word()
    way.leave()


@torch.no_grad()
def move(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape[-1]), alpha=1e-3)


def score(model: torch.nn.Module, data: task.Data, copy: torch.Tensor) -> float:
    torch.nn.utils.vector_to_parameters(copy, model.parameters())
    return task.accuracy(model, data)


def meet(way: ways.Way) -> None:
    """Until told to go."""
    while True:
        say("waiting", lineage=way.meet(), cpu_seconds=time.process_time() + way.cpu_seconds())
        if way.__class__ is not ways.Swarm or select.select([sys.stdin], [], [], 0.1)[0]:
            await_word()
            return


def say(kind: str, **facts: Any) -> None:
    print(json.dumps({"is": kind, **facts}), flush=True)


def await_word() -> None:
    """Ends this process when the benchmark has ended."""
    if not sys.stdin.readline():
        sys.exit(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
