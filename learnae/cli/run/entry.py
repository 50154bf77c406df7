"""`[train] entry = "train:make_trainer"`: the user's own function, from a file beside the TOML."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnae.config.words import did_you_mean
from learnae.errors import INSTALL_TORCH, ConfigError, EntryError, Problem

if TYPE_CHECKING:
    from learnae.trainer.recipe import Trainer

KEY = "train.entry"


def find_entry(entry: str, folder: Path) -> Callable[[], Any]:
    """The function that `entry` names. Its folder comes first on the path, as for a script of that folder.

    Raises ConfigError for what is not there, PluginError with the cause where the file cannot be imported.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module, _, name = entry.partition(":")
    found = getattr(_imported(module, folder), name, None)
    if found is None:
        raise ConfigError(Problem(KEY, f"{module} has no {name!r}", did_you_mean(name, _functions(module))))
    if not callable(found):
        raise ConfigError(Problem(KEY, f"{entry} is no function, but {type(found).__name__}", "name a function that returns a Trainer"))
    if flaw := _flaw_of(found):
        raise ConfigError(Problem(KEY, f"{entry} {flaw[0]}", flaw[1]))
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


def make_trainer(entry: str, folder: Path) -> Trainer:
    """What the user's function returns. Raises as `find_entry`, and PluginError for whatever it raises or returns instead."""
    from learnae import Trainer
    from learnae.trainer.theirs import theirs

    function = find_entry(entry, folder)
    with theirs(entry, "making the trainer"):
        trainer = function()
    if not isinstance(trainer, Trainer):
        forgot = "; is a `return` missing?" if trainer is None else ""
        raise EntryError(entry, "making the trainer", f"it returned {type(trainer).__name__} and not a learnae.Trainer{forgot}", "")
    return trainer


def _imported(module: str, folder: Path) -> Any:
    from learnae.trainer.theirs import theirs

    with theirs(module, "being imported"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name == "torch":
                raise ConfigError(Problem(KEY, f"{module} needs PyTorch, which is not installed", INSTALL_TORCH)) from error
            if error.name == module:
                raise ConfigError(Problem(KEY, f"there is no {module}.py in {folder}", "write it, or mend the entry")) from error
            raise


def _functions(module: str) -> list[str]:
    """Of its own, not what it imports."""
    found = vars(sys.modules[module]).items()
    return [name for name, value in found if getattr(value, "__module__", None) == module and callable(value) and not name.startswith("_")]
