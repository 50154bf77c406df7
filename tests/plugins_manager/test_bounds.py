"""A plugin says for which versions of Learnae it is, and one that does not fit is told before it does anything."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from learnae import ConfigError
from learnae.plugins import hooks
from learnae.plugins.hooks import bounds_around, own_version
from learnae.plugins.manager import PluginManager
from learnae.scaffold import write_plugin

ROOT = Path(__file__).parents[2]
OURS = metadata.version("learnae")
Install = Callable[..., None]
Logged = list[dict[str, Any]]


def test_a_plugin_for_another_version_is_left_out_and_told_with_both_versions_and_a_remedy(
    install: Install, good: str, logged: Logged, tmp_path: Path
) -> None:
    install("learnae-late", good, entry="late", version="3.1", requires=["learnae>=7,<8"])
    manager = PluginManager.discover()
    assert "first" not in manager.offers("merge")
    told = str(manager.broken["late"])
    assert all(word in told for word in ("'late'", "learnae-late 3.1", ">=7", "<8", f"learnae {OURS}", "pip install"))
    assert [(entry["event"], entry["plugin"]) for entry in logged] == [("plugin.broken", "late")]
    with pytest.raises(ConfigError, match=r"learnae-late 3\.1 is for"):
        manager.find("merge", "first", tmp_path)


def test_nothing_of_a_plugin_that_does_not_fit_is_imported(install: Install) -> None:
    install("learnae-late", "raise SystemExit('imported')", requires=["learnae<0.0.1"])
    assert "is for learnae<0.0.1" in str(PluginManager.discover().broken["learnae-late"])


@pytest.mark.parametrize(
    "requires",
    [
        [],
        ["learnae"],
        [f"learnae=={OURS}"],
        [f"learnae{bounds_around(OURS)}"],
        ["Learnae>=0.0.1", "numpy<0.1"],
        ["learnae<0.0.1; extra == 'old'"],
        ["learnae<0.0.1; python_version < '3'"],
        ["learnae ~~ nonsense", "an other <nonsense"],
        ["learnae<0.0.1; nothing_of_python == 'x'"],
    ],
    ids=["nothing", "no-bounds", "exact", "usual", "others", "extra", "marker", "nonsense", "strange-marker"],
)
def test_a_plugin_is_loaded_unless_its_bounds_really_forbid_it(install: Install, good: str, requires: list[str]) -> None:
    install("learnae-first", good, requires=requires)
    manager = PluginManager.discover()
    assert not manager.broken
    assert "first" in manager.offers("merge")


@pytest.mark.parametrize(
    ("version", "fits"), [("0.1.0", True), ("0.1.9", True), ("0.1.4.dev3", True), ("0.2.0", False), ("0.2.0.dev1", False), ("1.0", False)]
)
def test_bounds_hold_for_one_minor_version_its_patches_and_what_is_made_between_them(
    install: Install, good: str, monkeypatch: pytest.MonkeyPatch, version: str, fits: bool
) -> None:
    monkeypatch.setattr(hooks, "own_version", lambda: version)
    install("learnae-first", good, requires=["learnae>=0.1,<0.2"])
    assert ("first" in PluginManager.discover().offers("merge")) is fits


@pytest.mark.parametrize(("version", "around"), [("0.1.0", ">=0.1,<0.2"), ("0.9.3.dev1", ">=0.9,<0.10"), ("2.4.1", ">=2.4,<3")])
def test_a_new_plugin_is_for_all_versions_until_something_public_may_go(version: str, around: str) -> None:
    assert bounds_around(version) == around


def test_learnae_from_a_checkout_without_a_version_loads_every_plugin(install: Install, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "own_version", lambda: None)
    install("learnae-first", good, requires=["learnae>=7"])
    assert "first" in PluginManager.discover().offers("merge")


def test_a_new_plugin_is_written_with_its_bounds(tmp_path: Path) -> None:
    write_plugin(tmp_path / "my-rule", "merge", ())
    wanted = tomllib.loads((tmp_path / "my-rule" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"learnae{bounds_around(OURS)}" in wanted


@pytest.mark.parametrize("project", ["plugins/iota", "plugins/ipfs", "plugins/libp2p", "examples/learnae-winsorized-mean"])
def test_our_own_plugins_name_the_bounds_that_a_new_one_gets(project: str) -> None:
    version = own_version()
    assert version is not None
    wanted = tomllib.loads((ROOT / project / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"learnae{bounds_around(version)}" in wanted
