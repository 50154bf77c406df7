"""Jobs of several processes are one peer each: replicas (DDP), shards (FSDP2), and replicas of shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from learnae.errors import ConfigError
from learnae.records import TensorSpec
from learnae.trainer.ranks import Ranks
from learnae.trainer.shards import Shards
from learnae.trainer.shared import SharedTensor

JOB = Path(__file__).with_name("rank_job.py")
LIMIT_SECONDS = 500.0
T = TypeVar("T")


def start(kind: str, ranks: int, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(folder)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), str(JOB), kind, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def seen_by(process: subprocess.Popen[str], kind: str, ranks: int, folder: Path) -> list[dict[str, Any]]:
    said, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, said
    return [json.loads((folder / f"{kind}-{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_of_replicas_and_one_of_sharded_replicas_train_one_model_in_one_swarm(tmp_path: Path) -> None:
    jobs = [("ddp", 2), ("hsdp", 4)]
    processes = [start(kind, ranks, tmp_path) for kind, ranks in jobs]
    peers = [seen_by(process, kind, ranks, tmp_path) for process, (kind, ranks) in zip(processes, jobs, strict=True)]
    assert len({one["lineage"] for ranks in peers for one in ranks}) == 1, "they are one lineage"
    for ranks in peers:
        first = ranks[0]
        assert first["merges"] >= 1
        assert first["samples"] == len(ranks) * first["steps"] * 8, "the rows of all ranks count"
        assert first["age"] == first["of_status"] >= first["steps"]
        count = len(first["parameters"])
        for one in ranks:
            assert one["parameters"] == first["parameters"], "all ranks hold one model"
            assert one["merged"] == (first["merged"] if one["lent"] else one["trained"]), "all hold the merged one while it is lent"
            assert one["again"][:count] == one["parameters"], "and the trained one comes back, bit by bit"
            assert {name: one[name] for name in ("lent", "steps", "samples", "merges", "age")} == {
                name: first[name] for name in ("lent", "steps", "samples", "merges", "age")
            }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_rank_0_cannot_do_ends_the_other_ranks_too_and_they_are_told_why(tmp_path: Path) -> None:
    first, other = seen_by(start("refusals", 2, tmp_path), "refusals", 2, tmp_path)
    assert first["config"].startswith("ConfigError") and "train.local_steps" in first["config"]
    assert other["config"].startswith("RankFailed") and "train.local_steps" in other["config"]
    assert all("bfloat16" in one["low precision"] and "mp_policy" in one["low precision"] for one in (first, other))
    assert first["home"].startswith("ConfigError") and other["home"].startswith("RankFailed"), "rank 0 fails when the others have begun"
    for what in ("steps", "calls"):
        assert all(one[what].startswith("RuntimeError") and "call the swarm alike" in one[what] for one in (first, other)), what
    assert all(one["models"].startswith("ConfigError") and "different tensors" in one["models"] for one in (first, other))
    assert all(one["checkpoints"].startswith("ConfigError") and "checkpoints" in one["checkpoints"] for one in (first, other))
    assert first["resumed"] == other["resumed"] == 7, "they go on from the checkpoint that both were given"
    assert other["dataset"].startswith("ConfigError")


def test_processes_that_torchrun_started_and_that_are_no_group_are_told_to_become_one() -> None:
    with pytest.raises(ConfigError, match="init_process_group"):
        Ranks.of_this_process({"WORLD_SIZE": "2"})


@pytest.mark.parametrize("environ", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "many"}])
def test_one_process_tells_nobody_anything(environ: dict[str, str]) -> None:
    ranks = Ranks.of_this_process(environ)
    ranks.say("anything")
    ranks.broadcast(torch.ones(3))
    assert (ranks.rank, ranks.size, ranks.collect({"a": 1}), ranks.total(2.0)) == (0, 1, [{"a": 1}], [2.0])


@attrs.frozen
class Placement:
    sharded: bool

    def is_shard(self) -> bool:
        return self.sharded


@attrs.frozen
class Mesh:
    coordinates: Sequence[int]

    def get_coordinate(self) -> list[int]:
        return list(self.coordinates)


class Sharded:
    """What a rank sees of a tensor of FSDP2."""

    def __init__(self, rows: int, held: int, coordinates: Sequence[int]) -> None:
        self.shape, self.device_mesh = (rows, 2), Mesh(coordinates)
        self.placements = [*(Placement(False) for _ in coordinates[1:]), Placement(True)]
        self._held = held

    def __len__(self) -> int:
        return self.shape[0]

    def to_local(self) -> torch.Tensor:
        return torch.zeros(self._held, 2)


class Told(Ranks):
    """One rank of a job whose other ranks tell what their tensors say."""

    def __init__(self, rank: int, tensors: Sequence[Sharded]) -> None:
        super().__init__(rank, len(tensors))
        self._tensors = tensors

    def agree(self, work: Callable[[], T]) -> T:
        return work()

    def collect(self, mine: Any) -> list[Any]:
        if "w" not in mine:
            return [mine for _ in self._tensors]
        return [
            {"w": [len(one.to_local()), one.device_mesh.coordinates[-1], list(one.device_mesh.coordinates[:-1]), True]}
            for one in self._tensors
        ]


@given(rows=st.integers(1, 40), shards=st.integers(1, 5), replicas=st.integers(1, 3), data=st.data())
def test_each_row_comes_to_rank_0_once_and_each_rank_gets_its_own(rows: int, shards: int, replicas: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), min_size=shards - 1, max_size=shards - 1)))
    edges = [0, *cuts, rows]
    spans = [(edges[shard], edges[shard + 1] - edges[shard]) for shard in range(shards)]
    tensors = [Sharded(rows, spans[shard][1], (replica, shard)) for replica in range(replicas) for shard in range(shards)]
    owner = nn.Module()
    object.__setattr__(owner, "w", tensors[0])
    place = SharedTensor("w", owner, "w", TensorSpec(name="w", dtype="float32", shape=(rows, 2)))
    found = Shards.of([place], Told(0, tensors))
    start, count = spans[0]
    own = list(range(start, start + count))
    gathered = [row for one in found.to_gather() for row in range(one.start, one.start + one.count)]
    assert sorted(own + gathered) == list(range(rows))
    scattered = {one.rank: (one.start, one.count) for one in found.to_scatter()}
    expected = {rank: spans[rank % shards] for rank in range(1, shards * replicas) if spans[rank % shards][1]}
    assert scattered == expected
    values = torch.arange(rows * 2.0).reshape(rows, 2)
    assert torch.equal(found.held_by(0, {"w": values, "b": values})["w"], values[start : start + count])


def test_a_tensor_of_which_no_rank_of_the_job_holds_some_rows_is_refused() -> None:
    tensors = [Sharded(6, 2, (0, 0)), Sharded(6, 2, (0, 1))]
    owner = nn.Module()
    object.__setattr__(owner, "w", tensors[0])
    with pytest.raises(ConfigError, match="other processes"):
        Shards.of([SharedTensor("w", owner, "w", TensorSpec(name="w", dtype="float32", shape=(6, 2)))], Told(0, tensors))
