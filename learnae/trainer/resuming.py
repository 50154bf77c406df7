"""What a checkpoint says of the swarm: read as something that anybody may have written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from learnae.content.expect import MAX_INTEGER
from learnae.errors import ConfigError, Problem
from learnae.trainer.figures import whole

KEY = "resume"
LINEAGE_BYTES = (0, 8)
REMEDY = "give what swarm.state_dict() gave when the model was saved"


def checked(state: Any) -> dict[str, Any]:
    """A state of `Swarm.state_dict()` in plain values. Raises ConfigError that names all keys that are wrong."""
    if not isinstance(state, Mapping):
        raise ConfigError(Problem(KEY, f"is {type(state).__name__}, and no state of a swarm", REMEDY))
    if "run" not in state and isinstance(state.get("swarm"), Mapping):
        raise ConfigError(Problem(KEY, "is a whole checkpoint", 'give its part of the swarm: resume=checkpoint["swarm"]'))
    complete = {"local": (), **state}
    values: dict[str, Any] = {}
    problems = list(_read(complete, values))
    if problems:
        raise ConfigError(problems)
    return values


def _read(state: Mapping[str, Any], values: dict[str, Any]) -> Iterator[Problem]:
    for key, read in READERS.items():
        if key not in state:
            yield Problem(f"{KEY}: {key}", "is missing", REMEDY)
            continue
        try:
            values[key] = read(state[key])
        except (ValueError, TypeError) as error:
            yield Problem(f"{KEY}: {key}", str(error), REMEDY)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 100:
        raise ValueError(f"{value!r:.80} is not the name of a run")
    return value


def _lineage(value: Any) -> str:
    if not isinstance(value, str) or len(bytes.fromhex(value)) not in LINEAGE_BYTES:
        raise ValueError(f"{value!r:.80} is no lineage, which has 16 hexadecimal digits or none")
    return value


def _count(value: Any) -> int:
    return whole(value, "it", MAX_INTEGER)


def _residues(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and isinstance(rest, Tensor) for name, rest in value.items()):
        raise ValueError("wanted are tensors by name")
    return dict(value)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise ValueError("wanted are names of tensors")
    return tuple(value)


READERS: Mapping[str, Callable[[Any], Any]] = {
    "run": _text,
    "adoption": _count,
    "lineage": _lineage,
    "age": _count,
    "steps": _count,
    "samples": _count,
    "residues": _residues,
    "local": _names,
}
