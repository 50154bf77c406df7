"""Checks the arguments of learnae.join() and the numbers that a user's loop gives. Each error says what to write instead."""

from __future__ import annotations

import inspect
import math
import operator
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from learnae.config.words import did_you_mean
from learnae.content.validators import MAX_INTEGER
from learnae.errors import ConfigError, Problem
from learnae.logs import LEVELS
from learnae.observations import METRIC_CHARACTERS, MOST_METRICS
from learnae.trainer.shared import LOW_PRECISION


def whole(value: Any, what: str, most: int = MAX_INTEGER) -> int:
    """A count, also where it comes as 8.0, as numpy's number or as a tensor of one element. Raises ValueError, TypeError."""
    number = _whole(_single(value, what), value, what)
    if not 0 <= number <= most:
        raise ValueError(f"{what} is {shown(value)}: wanted is a whole number from 0 to {most}")
    return number


def loss_of(value: Any) -> float | Tensor:
    """A number, or a tensor of one element as it is: it is read when a snapshot is taken. Raises ValueError, TypeError."""
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_meta or value.is_complex() or value.is_nested:
            raise ValueError(f"loss is {shown(value)}: wanted is a number or a tensor of one element, such as its mean()")
        return value if _is_plain(value) else _read(value)
    return _float(value, "loss", "a number or a tensor of one element")


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized


def _read(tensor: Tensor) -> float:
    """At once, where it is not sure that it can be read at all: a snapshot would be taken long after the mistake."""
    try:
        return float(tensor.detach().item())
    except RuntimeError as error:
        raise ValueError(f"loss is {shown(tensor)}, and it cannot be read: {str(error)[:200]}") from error


def checked_metrics(value: Any) -> dict[str, float]:
    """Numbers by name. Those that are not finite are left out: they cannot be compared. Raises ValueError, TypeError."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError(f'metrics is {shown(value)}: wanted are numbers by name, such as {{"loss": 0.25, "accuracy": 0.9}}')
    if len(value) > MOST_METRICS or any(not 0 < len(name) <= METRIC_CHARACTERS for name in value):
        raise ValueError(f"metrics: wanted are at most {MOST_METRICS} names, of 1 to {METRIC_CHARACTERS} characters each")
    numbers = {str(name): _float(number, f"metrics[{name!r}]", "a number") for name, number in value.items()}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def seconds_of(value: Any, what: str = "seconds") -> float:
    """A time to wait. Raises ValueError, TypeError."""
    number = _float(value, what, "a number of seconds")
    if not 0 <= number <= threading.TIMEOUT_MAX:  # which NaN is not
        raise ValueError(f"{what} is {shown(value)}: wanted is a number of seconds from 0 to {threading.TIMEOUT_MAX:.0f}")
    return number


def _float(value: Any, what: str, wanted: str) -> float:
    number = _single(value, what)
    if not _is_real(number):
        raise TypeError(f"{what} is {shown(value)}: wanted is {wanted}")
    try:
        return float(number)
    except OverflowError:
        raise ValueError(f"{what} is {shown(value)}, which no float can hold") from None
    except ValueError:  # a signalling NaN of Decimal
        raise ValueError(f"{what} is {shown(value)}: wanted is {wanted}") from None


def _is_real(number: Any) -> bool:
    return isinstance(number, Real | Decimal) and not isinstance(number, bool)


def _whole(number: Any, value: Any, what: str) -> int:
    wanted = f"{what} is {shown(value)}: wanted is a whole number"
    if isinstance(number, bool):
        raise TypeError(wanted)
    if not _is_real(number):
        try:
            return operator.index(number)
        except TypeError:
            raise TypeError(wanted) from None
    try:
        exact = Fraction(number)
    except (ValueError, OverflowError):  # not a number, or infinite
        raise ValueError(wanted) from None
    if exact.denominator != 1:
        raise ValueError(wanted)
    return exact.numerator


def _single(value: Any, what: str) -> Any:
    """What is in an array of one element, of any library and on any device; everything else as it is."""
    shape = getattr(value, "shape", None)
    if shape is None or not hasattr(value, "item"):
        return value
    if math.prod(shape) != 1:
        raise ValueError(f"{what} is {shown(value)}: wanted is one number, such as its sum()")
    try:
        return value.item()
    except RuntimeError as error:
        raise ValueError(f"{what} is {shown(value)}, and it cannot be read: {error}") from error


def shown(value: Any) -> str:
    """What was given, in short, for a message."""
    try:
        shape = getattr(value, "shape", None)
    except RuntimeError:  # a nested tensor has none
        shape = None
    if shape is not None and math.prod(shape) != 1:
        return f"a {type(value).__name__} of the shape {tuple(shape)}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # integers of more than 4,300 digits, and whatever else has no words for itself
        return f"a {type(value).__name__} that cannot be shown"
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"


MASTERS = (
    "keeps float32 copies of parameters of lower precision, and writes them over what is adopted",
    "hold the parameters in float32 and compute with torch.autocast, or use an optimizer without master weights",
)


def refuse_masters(optimizer: Any, model: nn.Module) -> None:
    """Raises ConfigError for an optimizer, or one of a list, that keeps its own copies of the parameters, or that trains another model."""
    for one in optimizers_in(optimizer):
        if one is not None:
            _refuse_masters(unwrap(one), model)


def _refuse_masters(inner: Any, model: nn.Module) -> None:
    params = list(model.parameters())
    own = {id(param) for param in params}
    foreign = [param for group in inner.param_groups for param in group["params"] if id(param) not in own]
    if any(_masters(inner, foreign, params)):
        raise ConfigError(Problem("optimizer", *MASTERS))
    if foreign and not any(id(param) in own for group in inner.param_groups for param in group["params"]):
        raise ConfigError(Problem("optimizer", "trains none of the model's parameters", "build it from model.parameters()"))


def unwrap(optimizer: Any) -> Any:
    """The optimizer inside wrappers such as accelerate's."""
    for _ in range(8):
        inner = getattr(optimizer, "optimizer", None)
        if not hasattr(inner, "param_groups"):
            break
        optimizer = inner
    return optimizer


def _masters(optimizer: Any, foreign: list[Tensor], params: list[nn.Parameter]) -> Iterator[bool]:
    low = {tuple(param.shape) for param in params if param.dtype in LOW_PRECISION}
    yield any(param.dtype == torch.float32 and tuple(param.shape) in low for param in foreign)
    yield bool(low) and any(getattr(optimizer, name, False) is not False for name in ("master_weights", "param_groups_master"))
    yield any(
        "master" in str(key) for state in dict(getattr(optimizer, "state", {})).values() if isinstance(state, Mapping) for key in state
    )
    yield hasattr(optimizer, "_amp_stash") and bool(getattr(optimizer._amp_stash, "fp32_from_fp16_params", None))


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
