"""`use = "my_file:MyMerge"`: a class from a file beside the TOML, without packaging."""

from __future__ import annotations

import importlib
import os
import re
import sys
import sysconfig
import types
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from learnae.config.words import did_you_mean
from learnae.errors import ConfigError, Problem
from learnae.plugins.calls import naming

_FORM = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


@attrs.frozen
class LocalFiles:
    """Imports each file once. Every folder is a package with a name of its own, so that files of one name in two folders stay apart."""

    _packages: dict[Path, str] = attrs.field(factory=dict, init=False)

    def find(self, use: str, folder: Path) -> tuple[str, Any]:
        """The file, named as users know it, and what it calls by this name. Raises ConfigError, or PluginError when its import fails."""
        form = _FORM.fullmatch(use)
        if form is None:
            raise ConfigError(Problem("use", f'is not of the form "file:Class": {use!r}'))
        folder, module, name = folder.absolute(), form[1], form[2]
        file = f"{module.replace('.', '/')}.py"
        if not os.path.isfile(folder / file) and not os.path.isfile((folder / file).with_suffix("") / "__init__.py"):
            raise ConfigError(Problem("use", f"there is no {file} in {folder}", "the file lies beside the one that names it"))
        with naming(file, "importing it"), _siblings(folder):
            imported = importlib.import_module(f"{self._package(folder)}.{module}")
        if not hasattr(imported, name):
            classes = [known for known, value in vars(imported).items() if getattr(value, "__module__", "") == imported.__name__]
            raise ConfigError(Problem("use", f"{file} has no {name}", did_you_mean(name, classes)))
        return file, getattr(imported, name)

    def _package(self, folder: Path) -> str:
        if folder not in self._packages:
            package = types.ModuleType(f"learnae_local_{uuid.uuid4().hex}")
            package.__path__ = [str(folder)]
            sys.modules[package.__name__] = package
            self._packages[folder] = package.__name__
        return self._packages[folder]


@contextmanager
def _siblings(folder: Path) -> Iterator[None]:
    """Lets a file import others beside it, and forgets them afterwards: elsewhere their names may mean other files.

    They come before what is installed, but after Python's own: a `secrets.py` there is not for whatever else is imported meanwhile.
    """
    importlib.invalidate_caches()
    place = _after_pythons_own()
    if str(folder) in sys.path[: place + 1]:
        yield
        return
    before = set(sys.modules)
    sys.path.insert(place, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            if top not in before and _lies_in(folder, top):
                del sys.modules[name]


def _after_pythons_own() -> int:
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    own |= {os.path.join(folder, "lib-dynload") for folder in own}
    return max((place for place, entry in enumerate(sys.path, 1) if entry in own), default=0)


def _lies_in(folder: Path, top: str) -> bool:
    return not top.startswith("learnae_local_") and (os.path.isfile(folder / f"{top}.py") or os.path.isfile(folder / top / "__init__.py"))
