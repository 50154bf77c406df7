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
    return {"trimmed-mean": "learnae_trimmed_mean.merge:TrimmedMean"}
"""

MERGE = '''
import attrs, torch
from attrs.validators import ge, lt
from learnae import ElementwiseMerge

@attrs.frozen
class TrimOptions:
    trim: float = attrs.field(default=0.2, validator=[ge(0.0), lt(0.5)])   # share dropped at each end

class TrimmedMean(ElementwiseMerge):
    """Average each weight after dropping the largest and smallest share of peers; ignores the weights."""
    Options = TrimOptions
    library = "torch"

    def combine(self, stacked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        drop = int(self.options.trim * len(stacked))
        return stacked.sort(dim=0).values[drop : len(stacked) - drop].mean(dim=0)
'''

FILE = """
[merge]
use = "trimmed-mean"
trim = 0.25

[selector]
use = "least-recently-tried"
count = 4
"""


@pytest.fixture
def trimmed_mean(install: Callable[..., None]) -> None:
    install(
        "learnae-trimmed-mean", {"learnae_trimmed_mean/__init__.py": HOOK, "learnae_trimmed_mean/merge.py": MERGE}, entry="trimmed-mean"
    )


@pytest.mark.usefixtures("trimmed_mean")
def test_it_is_chosen_by_name_configured_and_merges(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    (tmp_path / "learnae.toml").write_text(FILE)
    config, manager = open_peer_file(tmp_path / "learnae.toml")
    assert (config.merge.use, config.merge.options.trim, config.selector.count) == ("trimmed-mean", 0.25, 4)
    merge = manager.find("merge", config.merge.use, config.folder).load()(config.merge.options, context=None)  # type: ignore[arg-type]
    stacked = torch.tensor([[1.0, -9.0], [2.0, 4.0], [3.0, 2.0], [100.0, 0.0]])
    assert merge.combine(stacked, torch.ones(4) / 4).tolist() == [2.5, 1.0]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("trimmed_mean")
def test_its_options_are_bounded_and_described(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    (tmp_path / "learnae.toml").write_text(FILE)
    with pytest.raises(ConfigError) as caught:
        open_peer_file(tmp_path / "learnae.toml", overrides=["merge.trim=0.7"])
    assert str(caught.value) == "--set merge.trim: must be less than 0.5, not 0.7"
    _, manager = open_peer_file(None)
    (key,) = manager.offers("merge")["trimmed-mean"].options()
    assert (key.key, key.type, key.default, key.bounds) == ("trim", "a number", "0.2", ("at least 0.0", "less than 0.5"))


@pytest.mark.usefixtures("trimmed_mean")
def test_a_misspelt_name_hears_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[merge]\nuse = "trimed-mean"')
    with pytest.raises(ConfigError) as caught:
        open_peer_file(tmp_path / "learnae.toml")
    assert str(caught.value) == 'merge.use: no merge is called "trimed-mean" (did you mean "trimmed-mean"?)'


@pytest.mark.usefixtures("trimmed_mean")
def test_a_fresh_process_finds_it_and_imports_no_torch_to_list_it(site: Path) -> None:
    code = (
        "import sys; from learnae.plugins.manager import PluginManager as M; print(*M.discover().offers('merge'), 'torch' in sys.modules)"
    )
    path = f"{site}:{Path(__file__).parents[2]}"
    result = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["average", "trimmed-mean", "False"]


@pytest.mark.usefixtures("trimmed_mean")
def test_a_file_can_do_without_it(tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[plugins]\ndisable = ["learnae-trimmed-mean"]')
    _, manager = open_peer_file(tmp_path / "learnae.toml")
    assert set(manager.offers("merge")) == {"average"}
