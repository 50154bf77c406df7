"""The functions of the user that a file names: `[train] entry`, `[data] entry` and `[sensor] entry`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from learnae.config.words import did_you_mean
from learnae.errors import INSTALL_TORCH, ConfigError, Problem
from learnae.plugins.calls import theirs
from learnae.plugins.offers import import_by_source

KEY, ROWS_KEY, READINGS_KEY = "train.entry", "data.entry", "sensor.entry"
RETURNS = {KEY: "a TrainingLoop", ROWS_KEY: "rows", READINGS_KEY: "a reading, or is a generator of readings"}


def find_entry(entry: str, folder: Path, key: str = KEY) -> Callable[[], Any]:
    """The function that `entry` names, which stands under `key`. Its folder comes first on the path, as for a script of that folder.

    Raises ConfigError for what is not there, PluginError with the cause where the file cannot be imported.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    import_by_source(folder)
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")  # to those who import it in a process of their own, such as loaders of data
    module, _, name = entry.partition(":")
    found = getattr(_imported(module, folder, key), name, None)
    if found is None:
        raise ConfigError(Problem(key, f"{module} has no {name!r}", did_you_mean(name, _functions(module))))
    if not callable(found):
        raise ConfigError(
            Problem(key, f"{entry} is no function, but {type(found).__name__}", f"name a function that returns {RETURNS[key]}")
        )
    if flaw := _flaw_of(found):
        raise ConfigError(Problem(key, f"{entry} {flaw[0]}", flaw[1]))
    function: Callable[[], Any] = found
    return function


def _flaw_of(function: Callable[..., Any]) -> tuple[str, str] | None:
    """What keeps it from being called as it will be, and the remedy."""
    if inspect.iscoroutinefunction(function):
        return "is an async function", "write `def` in place of `async def`"
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        return f"cannot be called without arguments: {error}", "give each of them a default"
    except ValueError:  # one that is not written in Python does not tell what it takes
        return None
    return None


def _imported(module: str, folder: Path, key: str) -> Any:
    with theirs(module, "being imported"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name == "torch":
                raise ConfigError(Problem(key, f"{module} needs PyTorch, which is not installed", INSTALL_TORCH)) from error
            if error.name == module:
                raise ConfigError(Problem(key, f"there is no {module}.py in {folder}", "write it, or mend the entry")) from error
            raise


def _functions(module: str) -> list[str]:
    """Of its own, not what it imports."""
    found = vars(sys.modules[module]).items()
    return [name for name, value in found if getattr(value, "__module__", None) == module and callable(value) and not name.startswith("_")]
