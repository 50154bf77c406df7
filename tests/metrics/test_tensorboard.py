"""What TensorBoard itself reads of the rounds, and what the node must not load for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from learnae.errors import ConfigError
from learnae.observations import RoundReport
from learnae.plugins.manager import PluginManager
from learnae.plugins.observers.tensorboard import SCALARS, TensorBoard, writing

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def report(round_: int, **fields: Any) -> RoundReport:
    told = {"round": round_, "seconds": 0.5, "lineage": b"12345678", "age": 40 * round_, "published": None, "published_bytes": 1000}
    more = {"fetched_bytes": 3000, "heard": 2, "chosen": 2, "merged": 1, "refused": 1, "failed": 0, "outcome": "merged"}
    return RoundReport(**{**told, **more, **fields})


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    points = EventAccumulator(str(folder)).Reload().Tensors(tag)
    return [(point.step, float(make_ndarray(point.tensor_proto))) for point in points]


def test_each_round_is_a_point_of_each_curve_at_the_age_of_the_model(tmp_path: Path) -> None:
    with writing(tmp_path / "peer", PluginManager().log) as observer:
        observer.learnae_round_finished(report(1))
        assert curve(tmp_path / "peer", "round/seconds") == [(40, 0.5)]  # it is there at once, not at the end
        observer.learnae_round_finished(report(2, merged=2, refused=0))
    assert curve(tmp_path / "peer", "updates/merged") == [(40, 1.0), (80, 2.0)]
    assert set(EventAccumulator(str(tmp_path / "peer")).Reload().Tags()["tensors"]) == set(SCALARS)


def test_what_was_measured_is_a_curve_of_its_own(tmp_path: Path) -> None:
    with writing(tmp_path / "peer", PluginManager().log) as board:
        board.learnae_round_finished(report(1, metrics={"loss": 0.25}))
        board.learnae_round_finished(report(2))
    assert curve(tmp_path / "peer", "evaluation/loss") == [(40, 0.25)]


def test_the_page_names_every_curve() -> None:
    page = PAGE.read_text()
    assert all(f"`{tag}`" in page for tag in SCALARS)


def test_a_folder_that_cannot_be_made_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"metrics\.tensorboard: .*cannot be written"),
        writing(tmp_path / "file" / "x", PluginManager().log),
    ):
        raise AssertionError


def test_after_a_full_disk_it_goes_on_in_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = TensorBoard(tmp_path)
    observer.learnae_round_finished(report(1))
    with monkeypatch.context() as full:

        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        full.setattr(observer._writer, "add_scalar", fail)
        with pytest.raises(OSError, match="No space"):
            observer.learnae_round_finished(report(2))
    observer.learnae_round_finished(report(3))
    observer.close()
    assert [step for file in sorted(tmp_path.iterdir()) for step, _ in curve(file, "round/seconds")] == [40, 120]


def test_neither_observer_brings_torch_or_tensorflow_into_the_node() -> None:
    code = "import learnae.plugins.observers.tensorboard, learnae.plugins.observers.prometheus, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100).stdout.split()
    assert not {"torch", "tensorflow"} & set(loaded)


def test_while_both_are_off_neither_package_is_loaded() -> None:
    code = "import learnae.node.__main__, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100).stdout.split()
    assert not {"prometheus_client", "tensorboard", "wsgiref"} & set(loaded)
