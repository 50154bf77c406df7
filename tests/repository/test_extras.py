"""What `learnae[...]` may ask for, and how pages may show it: our names may be a stranger's on a package index until they are ours."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PLUGINS = {(found := tomllib.loads(file.read_text())["project"])["name"]: found for file in ROOT.glob("plugins/*/pyproject.toml")}
PAGES = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/*.md"), ROOT / "README.md"]
TEXTS = [*ROOT.glob("learnae/**/*.py"), *ROOT.glob("learnae/**/*.tmpl"), *ROOT.glob("plugins/*/learnae_*/**/*.py"), *PAGES]
DECISION = "0042-extras-that-name-our-plugins.md"  # which speaks of what is not to be typed

EXTRA = re.compile(r"learnae(?:-[0-9.]+-py3-none-any\.whl)?\[([a-z0-9,]+)\]")
INSTALLING = re.compile(r"pip install[^\n`]*")


def with_plugins(extras: str) -> bool:
    """Whether these extras ask for a distribution of ours."""
    names = {Requirement(text).name for extra in extras.split(",") for text in EXTRAS[extra]}
    return bool(names & PLUGINS.keys()) or "all" in extras.split(",")


def installed(name: str) -> None:
    """In CI, where set-up has just run, what is skipped has failed."""
    try:
        assert metadata.version(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {name}: make setup")


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_asks_for_what_there_is(extra: str) -> None:
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name in PLUGINS:
            plugin = PLUGINS[requirement.name]
            assert extra in plugin["entry-points"]["learnae"] and requirement.specifier.contains(plugin["version"])
            (core,) = [one for one in map(Requirement, plugin["dependencies"]) if one.name == "learnae"]
            assert requirement.specifier == core.specifier, "bounded as the plugin bounds Learnae"
        else:
            installed(requirement.name)
            assert not requirement.name.startswith("learnae") or requirement.name == "learnae"
            assert requirement.extras <= EXTRAS.keys()


def test_all_of_them_have_all_but_what_pip_cannot_install() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.extras == EXTRAS.keys() - {"all"}
    assert {name for name in PLUGINS if not any(name in text for extra in EXTRAS.values() for text in extra)} == {"learnae-iota"}


def test_no_text_names_an_extra_that_there_is_not() -> None:
    """For pip it is only a warning."""
    for path in TEXTS:
        for extras in EXTRA.findall(path.read_text()):
            assert set(extras.split(",")) <= set(EXTRAS), path


def test_our_plugins_are_installed_from_files_wherever_a_page_shows_how() -> None:
    """Else pip would take whatever an index has under our names."""
    for path in (path for path in TEXTS if path.name != DECISION):
        for command in INSTALLING.findall(path.read_text()):
            if any(map(with_plugins, EXTRA.findall(command))):
                assert ".whl[" in command or "path/to/" in command, (path, command)
            assert not re.search(r"[\s\"]learnae-(ipfs|iota|libp2p)\b", command), (path, command)


@pytest.mark.parametrize(("extras", "ours"), [("libp2p", True), ("torch,ipfs", True), ("all", True), ("torch,demo", False)])
def test_an_extra_that_asks_for_our_plugins_is_told_apart(extras: str, ours: bool) -> None:
    assert with_plugins(extras) is ours
