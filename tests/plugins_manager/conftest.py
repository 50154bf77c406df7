from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

Install = Callable[..., None]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions, gone with all that was imported from it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Installs a distribution as pip would: its files, its metadata, its entry point."""

    def put(
        name: str, files: dict[str, str] | str, *, entry: str | None = None, version: str = "1.0", requires: Sequence[str] = ()
    ) -> None:
        module = name.replace("-", "_")
        for path, text in ({f"{module}.py": files} if isinstance(files, str) else files).items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(textwrap.dedent(text))
        metadata = site / f"{module}-{version}.dist-info"
        metadata.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
        (metadata / "METADATA").write_text("".join(f"{line}\n" for line in lines))
        (metadata / "entry_points.txt").write_text(f"[learnae]\n{entry or name} = {module}\n")
        importlib.invalidate_caches()

    return put


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


GOOD = """
from learnae import hookimpl, ElementwiseMerge

class First(ElementwiseMerge):
    '''Keeps the own model.'''
    def combine(self, stacked, weights):
        return stacked[0]

@hookimpl
def learnae_register_merge():
    return {"first": First}
"""


@pytest.fixture
def good() -> str:
    """A plugin that offers the merge "first"."""
    return GOOD
