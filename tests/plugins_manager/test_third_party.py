"""A plugin as a third party makes it, from `pip install` to a number."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae import ConfigError
from learnae.plugins.manager import open_peer_file

HOOK = """
from learnae import hookimpl

@hookimpl
def learnae_register_merge():
    return {"winsorized-mean": "learnae_winsorized_mean.merge:WinsorizedMean"}
"""

MERGE = '''
import attrs, torch
from attrs.validators import ge, lt
from learnae import ElementwiseMerge

@attrs.frozen
class WinsorOptions:
    trim: float = attrs.field(default=0.2, validator=[ge(0.0), lt(0.5)])   # share held at each end

class WinsorizedMean(ElementwiseMerge):
    """Average each coordinate after holding the largest and smallest ones to the next; ignores the weights."""
    Options = WinsorOptions
    library = "torch"

    def combine(self, stacked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        held, ordered = int(self.options.trim * len(stacked)), stacked.sort(dim=0).values
        return stacked.clamp(ordered[held], ordered[len(stacked) - held - 1]).mean(dim=0)
'''

FILE = """
[merge]
use = "winsorized-mean"
trim = 0.25

[selector]
use = "least-recently-tried"
count = 4
"""


@pytest.fixture
def winsorized_mean(install: Callable[..., None]) -> None:
    install(
        "learnae-winsorized-mean",
        {"learnae_winsorized_mean/__init__.py": HOOK, "learnae_winsorized_mean/merge.py": MERGE},
        entry="winsorized-mean",
    )


@pytest.mark.usefixtures("winsorized_mean")
def test_it_is_chosen_by_name_configured_and_merges(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    (tmp_path / "learnae.toml").write_text(FILE)
    config, manager = open_peer_file(tmp_path / "learnae.toml")
    assert (config.merge.use, config.merge.options.trim, config.selector.count) == ("winsorized-mean", 0.25, 4)
    merge = manager.find("merge", config.merge.use, config.folder).load()(config.merge.options, context=None)  # type: ignore[arg-type]
    stacked = torch.tensor([[1.0, -9.0], [2.0, 4.0], [3.0, 2.0], [100.0, 0.0]])
    assert merge.combine(stacked, torch.ones(4) / 4).tolist() == [2.5, 1.0]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("winsorized_mean")
def test_its_options_are_bounded_and_described(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    (tmp_path / "learnae.toml").write_text(FILE)
    with pytest.raises(ConfigError) as caught:
        open_peer_file(tmp_path / "learnae.toml", overrides=["merge.trim=0.7"])
    assert str(caught.value) == "--set merge.trim: must be less than 0.5, not 0.7"
    _, manager = open_peer_file(None)
    (key,) = manager.offers("merge")["winsorized-mean"].options()
    assert (key.key, key.type, key.default, key.bounds) == ("trim", "a number", "0.2", ("at least 0.0", "less than 0.5"))


@pytest.mark.usefixtures("winsorized_mean")
def test_a_misspelt_name_hears_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[merge]\nuse = "winsorised-mean"')
    with pytest.raises(ConfigError) as caught:
        open_peer_file(tmp_path / "learnae.toml")
    assert str(caught.value) == 'merge.use: no merge is called "winsorised-mean" (did you mean "winsorized-mean"?)'


@pytest.mark.usefixtures("winsorized_mean")
def test_a_fresh_process_finds_it_and_imports_no_torch_to_list_it(site: Path) -> None:
    code = (
        "import sys; from learnae.plugins.manager import PluginManager as M; print(*M.discover().offers('merge'), 'torch' in sys.modules)"
    )
    path = f"{site}:{Path(__file__).parents[2]}"
    result = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    *names, torch_is_there = result.stdout.split()
    assert "winsorized-mean" in names and torch_is_there == "False"


@pytest.mark.usefixtures("winsorized_mean")
def test_a_file_can_do_without_it(tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[plugins]\ndisable = ["learnae-winsorized-mean"]')
    _, manager = open_peer_file(tmp_path / "learnae.toml")
    assert "winsorized-mean" not in manager.offers("merge")
