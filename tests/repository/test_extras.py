"""What `learnae[...]` may ask for: nothing that a package index does not have, or has from a stranger under our name."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
TEXTS = [*ROOT.glob("learnae/**/*.py"), *ROOT.glob("learnae/**/*.tmpl"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_asks_for_what_is_installed_here_and_for_nothing_of_ours_but_learnae_itself(extra: str) -> None:
    for requirement in EXTRAS[extra]:
        name = re.split(r"[\[><=~ ;]", requirement)[0]
        assert metadata.version(name)
        assert not name.startswith("learnae") or name == "learnae"
        for other in re.findall(r"learnae\[(.*)\]", requirement):
            assert set(other.split(",")) <= set(EXTRAS)


def test_what_is_not_installed_from_a_checkout_is_mentioned_nowhere() -> None:
    """An extra that there is not is only a warning of pip, and one of our names on an index would be a stranger's."""
    for path in TEXTS:
        text = path.read_text()
        for extras in re.findall(r"learnae\[([a-z,0-9]+)\]", text):
            assert set(extras.split(",")) <= set(EXTRAS), path
        assert not re.search(r"pip install \"?learnae-(ipfs|iota|libp2p)", text), path
