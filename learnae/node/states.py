"""The strategies' state as bytes and back: arrays, numbers and text, never pickled."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from learnae.records import State


def checked_state(state: Any) -> State | None:
    """What a strategy returned as its state. Raises TypeError unless it is a mapping by name, or None."""
    if state is not None and not (isinstance(state, Mapping) and all(isinstance(name, str) for name in state)):
        raise TypeError(f"a state is a mapping from text to arrays, numbers and text, not {type(state).__name__}")
    return state


def dump_state(state: State) -> bytes:
    """Raises TypeError for values that are neither arrays nor numbers nor text."""
    arrays = {name: np.asarray(value) for name, value in state.items() if _is_array(value)}
    plain = {name: value for name, value in state.items() if name not in arrays}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{f"array/{name}": array for name, array in arrays.items()}, plain=np.array(json.dumps(plain)))
    return buffer.getvalue()


def load_state(data: bytes) -> dict[str, Any]:
    """Raises whatever numpy, zipfile and json raise for bytes that `dump_state` did not make."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        state = dict(json.loads(str(stored["plain"])))
        return state | {name.removeprefix("array/"): stored[name] for name in stored.files if name.startswith("array/")}


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")
