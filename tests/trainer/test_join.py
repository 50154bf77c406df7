from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import nn

import learnae
from learnae.errors import ConfigError
from learnae.identity.homes import claim
from learnae.identity.keys import Identity
from learnae.trainer import join as joining
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings

NODE = Path(__file__).with_name("scripted_node.py")


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "SwarmSettings", partial(SwarmSettings, command=(sys.executable, str(NODE))))
    monkeypatch.setattr(joining, "PREDECESSOR_SECONDS", 0.0)


def homes(state_home: Path, swarm: str) -> list[str]:
    return sorted(path.name for path in (state_home / "learnae" / "homes" / swarm).iterdir())


def test_three_lines_join_a_swarm(zeros: nn.Module, state_home: Path) -> None:
    optimizer = torch.optim.SGD(zeros.parameters(), lr=0.1)
    with learnae.join(zeros, "digits", optimizer=optimizer) as swarm:
        swarm.step(num_samples=4)
        assert swarm.status.steps == 1
    assert homes(state_home, "digits") == ["peer-1"]


def test_two_peers_on_one_machine_take_homes_of_their_own_and_leave_them(zeros: nn.Module, state_home: Path) -> None:
    with learnae.join(zeros, "digits"), learnae.join(nn.Linear(2, 1), "digits"):
        assert homes(state_home, "digits") == ["peer-1", "peer-2"]
    with learnae.join(zeros, "digits"):
        assert homes(state_home, "digits") == ["peer-1", "peer-2"]


def test_a_file_and_what_overrides_it_decide(zeros: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "learnae.toml"
    file.write_text('[swarm]\nname = "a"\n[peer]\nhome = "here"\n[train]\nlocal_steps = 3\n[model]\nkeep_local = ["bias"]\n')
    with learnae.join(zeros, config=file, overrides=["train.patience=0.5"]) as swarm:
        assert (swarm._swarm_settings.local_steps, swarm._swarm_settings.patience, swarm._swarm_settings.home) == (
            3,
            0.5,
            str(tmp_path / "here"),
        )
        assert swarm._swarm_settings.config["swarm"]["name"] == "a" and swarm._swarm_settings.folder == str(tmp_path)
        assert list(swarm._session.shared_memory.slots[0]) == ["weight"]


def test_a_peer_knows_its_own_public_key(zeros: nn.Module, tmp_path: Path) -> None:
    with learnae.join(zeros, "a", home=tmp_path / "home") as swarm:
        assert swarm.peer == Identity.load_or_create(tmp_path / "home" / "key").peer


def test_a_status_is_short_to_read(zeros: nn.Module, tmp_path: Path) -> None:
    with learnae.join(zeros, "a", home=tmp_path / "home") as swarm:
        status = attrs.evolve(swarm.status, lineage=bytes([0, 0xFF] * 4), outages={"storage": "full"})
        assert "lineage=00ff00ff00ff00ff, " in repr(status) and "outages" not in repr(status)


def test_a_document_serves_as_well_as_a_file(zeros: nn.Module, tmp_path: Path) -> None:
    with learnae.join(zeros, "b", config={"train": {"local_steps": 4}}, home=tmp_path / "home") as swarm:
        assert swarm._swarm_settings.local_steps == 4 and swarm._swarm_settings.config["swarm"]["name"] == "b"


def test_a_mistake_in_the_file_is_raised_at_once(zeros: nn.Module) -> None:
    with pytest.raises(ConfigError, match="local_step"):
        learnae.join(zeros, config={"train": {"local_step": 4}})


def test_a_named_home_that_is_in_use_is_an_error_with_the_process(zeros: nn.Module, tmp_path: Path) -> None:
    with claim(tmp_path / "home"), pytest.raises(ConfigError, match="another peer uses this home"):
        learnae.join(zeros, "a", home=tmp_path / "home")


def test_a_model_that_cannot_be_shared_claims_no_home(state_home: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is shared"):
        learnae.join(nn.ReLU(), "a")
    assert not (state_home / "learnae").exists()


def test_several_processes_that_are_no_group_are_refused(zeros: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="WORLD_SIZE"):
        learnae.join(zeros, "a")


def test_a_pattern_that_matches_nothing_is_a_warning(zeros: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    learnae.join(zeros, "a", config={"model": {"keep_local": ["*.runing_*"]}}).leave()
    assert "*.runing_*" in capfd.readouterr().err


def test_a_node_that_cannot_start_gives_the_home_back(zeros: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "SwarmSettings", partial(SwarmSettings, command=(sys.executable, "-c", "raise SystemExit(2)")))
    with pytest.raises(ConfigError, match="says why on stderr"):
        learnae.join(zeros, "a", home=tmp_path / "home")
    claim(tmp_path / "home").close()


def test_a_resume_that_cannot_be_read_gives_the_home_back(zeros: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run: is missing"):
        learnae.join(zeros, "a", home=tmp_path / "home", resume={"of": "another program"})
    claim(tmp_path / "home").close()


def test_a_checkpoint_in_the_home_is_loaded_before_the_node_starts(zeros: nn.Module, state_home: Path) -> None:
    def load(home: Path) -> dict[str, Any] | None:
        state = home / "state.pt"
        return torch.load(state, weights_only=True) if state.exists() else None

    with learnae.join(zeros, "digits", resume=load) as swarm:
        swarm.step(num_samples=4)
        torch.save(swarm.state_dict(), swarm.home / "state.pt")
    with learnae.join(zeros, "digits", resume=load) as swarm:
        assert (swarm.status.steps, swarm.status.samples, swarm.status.node_starts) == (1, 4, 1)


def test_a_checkpoint_that_cannot_be_loaded_gives_the_home_back(zeros: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        learnae.join(zeros, "a", home=tmp_path / "home", resume=lambda home: 1 / 0)  # type: ignore[arg-type,return-value]
    claim(tmp_path / "home").close()


def test_frozen_tensors_that_come_from_a_checkpoint_are_those_that_count(tmp_path: Path) -> None:
    model, loaded = nn.Linear(2, 1), nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    loaded.bias.requires_grad_(False)

    def load(home: Path) -> None:
        model.load_state_dict(loaded.state_dict())

    with learnae.join(model, "a", home=tmp_path / "home", resume=load) as swarm:
        assert swarm._session._shared.frozen == find_shared(loaded).frozen


def test_what_a_checkpoint_says_is_in_the_first_hello(zeros: nn.Module, tmp_path: Path) -> None:
    with learnae.join(zeros, "a", home=tmp_path) as swarm:
        state = swarm.state_dict()
    with learnae.join(zeros, "a", home=tmp_path, resume=state) as swarm:
        assert swarm.status.node_starts == 1
    first, second = (line.split(" ") for line in (tmp_path / "hellos").read_text().splitlines())
    assert second[2] == first[0]


def test_what_stays_local_by_itself_is_named_once_with_what_it_means(zeros: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    zeros.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    learnae.join(zeros, "a").leave()
    lines = [line for line in capfd.readouterr().err.splitlines() if "mask" in line]
    assert len(lines) == 1 and "not finite" in lines[0] and "keep_local" in lines[0]


class Guessed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6))
        self.weight = nn.Parameter(torch.zeros(6, 4))
        self.own_u = nn.Buffer(nn.functional.normalize(torch.ones(6), dim=0))


def test_only_a_guess_at_what_stands_apart_is_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    with learnae.join(Guessed(), "digits"):
        pass
    lines = [line for line in capfd.readouterr().err.splitlines() if "kept_apart" in line]
    warned, *others = [line for line in lines if "warning" in line]
    assert "own_u" in warned and "inner" not in warned and not others


def test_a_parameter_that_is_not_finite_is_a_warning(zeros: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    nn.init.constant_(zeros.bias, math.nan)
    learnae.join(zeros, "a").leave()
    assert "bias" in capfd.readouterr().err


def test_what_stayed_local_by_itself_does_so_when_it_is_resumed(tmp_path: Path) -> None:
    first, again = (nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.BatchNorm1d(1, affine=False)}) for _ in range(2))
    first["b"].running_var.fill_(math.inf)
    with learnae.join(first, "a", home=tmp_path) as swarm:
        state, specs = swarm.state_dict(), swarm._session._shared.specs
    for resume in (state, lambda home: state):
        with learnae.join(again, "a", home=tmp_path, resume=resume) as swarm:
            assert swarm._session._shared.specs == specs and "b.running_var" not in {spec.name for spec in specs}
