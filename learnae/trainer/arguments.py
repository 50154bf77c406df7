"""What learnae.join() is given, looked at before anything is done with it: a mistake is told as one, with what to write instead."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from learnae.config.words import did_you_mean
from learnae.errors import ConfigError, Problem
from learnae.logs import LEVELS
from learnae.trainer.figures import shown

LOG = {"level": (*LEVELS, ""), "style": ("pretty", "json", "")}
NAME = 'name the swarm: learnae.join(model, "digits"); peers of one name train one model together'


def check_arguments(*, model: Any, name: Any, config: Any, optimizer: Any, home: Any, overrides: Any, resume: Any, log: Any) -> None:
    """Raises ConfigError with all of them that cannot be used. What they say is looked at by those who use it."""
    problems = [
        *_model(model),
        *_name(name, config, overrides),
        *_path("config", config, Mapping, "a file, or a document like one"),
        *_optimizer(optimizer),
        *_path("home", home, (), "a folder"),
        *_overrides(overrides),
        *_resume(resume),
        *_log(log),
    ]
    if problems:
        raise ConfigError(problems)


def optimizers_in(optimizer: Any) -> Sequence[Any]:
    """One, or several in a list."""
    return optimizer if isinstance(optimizer, list | tuple) else (optimizer,)


def _model(model: Any) -> Iterator[Problem]:
    if isinstance(model, nn.Module):
        return
    if inspect.isclass(model):
        yield Problem("model", f"is the class {model.__name__}, and not a model of it", f"make one: {model.__name__}(...)")
        return
    inner = next((name for name in ("model", "module", "network") if isinstance(getattr(model, name, None), nn.Module)), "")
    remedy = f"it has one: give its .{inner}" if inner else "give the torch.nn.Module that is trained"
    if isinstance(model, list | tuple | dict) and model and all(isinstance(part, nn.Module) for part in _parts(model)):
        remedy = f"put them together: torch.nn.{'ModuleDict' if isinstance(model, dict) else 'ModuleList'}(...)"
    yield Problem("model", f"is {shown(model)}, and not a torch.nn.Module", remedy)


def _parts(model: Any) -> Any:
    return model.values() if isinstance(model, dict) else model


def _name(name: Any, config: Any, overrides: Any) -> Iterator[Problem]:
    if isinstance(name, nn.Module):
        yield Problem("name", "is a model", "the model comes first: learnae.join(model, name)")
    elif name is not None and not isinstance(name, str):
        yield Problem("name", f"is {shown(name)}, and not a text", f"{NAME}. All else is given by its keyword, such as optimizer=")
    elif name is not None and not name.strip():
        yield Problem("name", "is empty", NAME)
    elif name is None and config is None and not _overrides_name(overrides):
        yield Problem("name", "is missing", NAME)


def _overrides_name(overrides: Any) -> bool:
    return isinstance(overrides, list | tuple) and any(isinstance(one, str) and one.strip().startswith("swarm.name") for one in overrides)


def _path(key: str, value: Any, other: Any, wanted: str) -> Iterator[Problem]:
    if other and isinstance(value, other):
        if wrong := [name for name in _names(value) if not isinstance(name, str)]:
            yield Problem(key, f"has the key {shown(wrong[0])}, which is no text", 'give a document such as {"train": {"local_steps": 5}}')
        return
    if value is None:
        return
    if not isinstance(value, str | os.PathLike):
        yield Problem(key, f"is {shown(value)}, and not the path of {wanted}", f'such as {key}="{"learnae.toml" if other else "peer"}"')
    elif "\0" in str(os.fspath(value)):
        yield Problem(key, "holds a NUL, which no path can", f"give the path of {wanted}")
    elif not os.fspath(value):
        yield Problem(key, "is empty", f"leave it out, or give the path of {wanted}")


def _names(document: Mapping[Any, Any]) -> list[Any]:
    """The keys of a document and of its tables."""
    return [*document, *(name for table in document.values() if isinstance(table, Mapping) for name in table)]


def _optimizer(optimizer: Any) -> Iterator[Problem]:
    for one in optimizers_in(optimizer):
        if inspect.isclass(one):
            yield Problem(
                "optimizer",
                f"is the class {one.__name__}, and not an optimizer of it",
                f"make one: {one.__name__}(model.parameters(), ...)",
            )
        elif one is not None and not _has_groups(one):
            yield Problem(
                "optimizer", f"is {shown(one)}, and not an optimizer of torch", "give the optimizer that trains the model, or leave it out"
            )


def _has_groups(optimizer: Any) -> bool:
    return any(isinstance(getattr(one, "param_groups", None), list) for one in (optimizer, getattr(optimizer, "optimizer", None)))


def _overrides(overrides: Any) -> Iterator[Problem]:
    wanted = 'give a list of texts: overrides=["train.local_steps=5"]'
    if isinstance(overrides, str):
        yield Problem("overrides", "is one text, and not a list of them", f'overrides=["{overrides}"]')
    elif isinstance(overrides, Mapping) or not isinstance(overrides, Sequence):
        yield Problem("overrides", f"is {shown(overrides)}, and not a list of texts", wanted)
    elif wrong := [one for one in overrides if not isinstance(one, str)]:
        yield Problem("overrides", f"holds {shown(wrong[0])}, which is no text", wanted)


def _resume(resume: Any) -> Iterator[Problem]:
    if resume is not None and not isinstance(resume, Mapping) and not callable(resume):
        remedy = "give what swarm.state_dict() gave when the model was saved, or a function that is given the home and returns that"
        yield Problem("resume", f"is {shown(resume)}, and neither a state nor a function", remedy)


def _log(log: Any) -> Iterator[Problem]:
    if log is None:
        return
    if not isinstance(log, Mapping):
        yield Problem("log", f"is {shown(log)}", 'give a level, a style, or both: log={"level": "info", "style": "json"}')
        return
    for key, value in log.items():
        if key not in LOG:
            yield Problem(f"log: {key}", "there is no such key", did_you_mean(str(key), list(LOG)))
        elif value not in LOG[key]:
            yield Problem(f"log: {key}", f"is {shown(value)}", "one of " + ", ".join(filter(None, LOG[key])))


def called_by(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the user's; what it raises is as it was, with a note of whose it is."""
    try:
        return function(*arguments)
    except Exception as error:
        name = getattr(function, "__qualname__", type(function).__name__)
        error.add_note(f"raised by {name}, the function that learnae.join() was given as `resume`")
        raise
