"""One rank of a job: `torchrun rank_job.py KIND FOLDER NUMBER`. Each rank writes what it has seen to FOLDER/KIND-rank.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import learnae
from learnae.errors import LearnaeError

STEPS, ROWS, MERGED, MOST = 100, 8, 3, 3000


def make(kind: str) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    if kind == "ddp":
        return DistributedDataParallel(model)
    ranks = distributed.get_world_size()
    mesh = init_device_mesh("cpu", (ranks // 2, 2) if kind == "hsdp" else (ranks,), mesh_dim_names=("a", "b") if kind == "hsdp" else ("b",))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def whole(model: nn.Module) -> list[float]:
    tensors: list[Any] = [*model.parameters(), *model.buffers()]
    with torch.no_grad():
        return torch.cat(
            [one.full_tensor().flatten() if hasattr(one, "full_tensor") else one.flatten().float() for one in tensors]
        ).tolist()


def batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    rows = torch.randn(ROWS, 5, generator=generator)
    return rows, 2 * rows[:, :3]


def train(kind: str, folder: Path) -> dict[str, Any]:
    """Until it has merged, then what it holds: trained, lent, and trained again."""
    model = make(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(distributed.get_rank())
    with learnae.join(model, "jobs", optimizer=optimizer, home=folder / kind, overrides=["train.local_steps=5"]) as swarm:
        while swarm.status.steps < STEPS or (swarm.status.merged < MERGED and swarm.status.steps < MOST):
            rows, wanted = batch(generator)
            optimizer.zero_grad()
            loss = (model(rows) - wanted).square().mean()
            loss.backward()
            optimizer.step()
            swarm.step(num_samples=ROWS, loss=loss.detach())
        swarm.flush(2.0)
        trained = whole(model)
        with swarm.merged() as lent:
            merged = whole(model)
            model.eval()
            with torch.no_grad():
                model(rows)  # FSDP2 leaves parameters whole after it
            model.train()
        status = swarm.status
        again = whole(model)
        state = swarm.state_dict()
    parameters = sum(one.numel() for one in model.parameters())  # a rank's own rows are in the means of normalisation layers
    told = {
        "parameters": trained[:parameters],
        "trained": trained,
        "merged": merged,
        "again": again,
        "lent": lent,
        "steps": status.steps,
        "samples": status.samples,
    }
    return {**told, "merges": status.merged, "lineage": status.lineage.hex(), "age": state["age"], "of_status": status.age}


def refusals(_: str, folder: Path) -> dict[str, Any]:
    """What each rank is told when rank 0 cannot join, when they count different steps, and of models that cannot be shared."""
    model = DistributedDataParallel(nn.Linear(2, 2))
    first = distributed.get_rank() == 0
    told = {
        "config": error_of(
            lambda: learnae.join(model, "jobs", home=folder / "refused", overrides=["train.local_steps=none"] if first else [])
        )
    }
    (folder / "file").touch()
    told["home"] = error_of(lambda: learnae.join(model, "jobs", home=folder / "file" / "home"))
    halves = nn.Linear(4, 4).to(torch.bfloat16)
    fully_shard(halves, mesh=init_device_mesh("cpu", (distributed.get_world_size(),)))
    told["low precision"] = error_of(lambda: learnae.join(halves, "jobs", home=folder / "refused"))
    told["models"] = error_of(lambda: learnae.join(nn.Linear(2, 2 if first else 3), "jobs", home=folder / "refused"))
    with learnae.join(model, "jobs", home=folder / "refused", overrides=["train.local_steps=2"]) as swarm:
        swarm.step()
        swarm.step()
        swarm.flush(0.0)
        state = {**swarm.state_dict(), "steps": 7}
        told["dataset"] = error_of(lambda: None if first else swarm.dataset([1.0]))
        told["calls"] = error_of(lambda: swarm.flush(0.0) if first else swarm.merged().__enter__())
        if first:
            swarm._session.model_progress.steps += 1  # as if it had called step() once more
        told["steps"] = error_of(lambda: swarm.flush(0.0))
    told["checkpoints"] = error_of(lambda: learnae.join(model, "jobs", home=folder / "refused", resume=lambda _: state if first else None))
    with learnae.join(model, "jobs", home=folder / "refused", resume=state) as swarm:
        told["resumed"] = swarm.status.steps
    return told


def error_of(call: Callable[[], object]) -> str:
    try:
        call()
    except (LearnaeError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    distributed.init_process_group("gloo")
    seen = (refusals if kind == "refusals" else train)(kind, folder)
    (folder / f"{kind}-{distributed.get_rank()}.json").write_text(json.dumps(seen))
    distributed.destroy_process_group()
