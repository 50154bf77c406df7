"""The strategies' state as bytes and back: arrays, numbers and text, never pickled."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from learnae.records import State


def dump_state(state: State) -> bytes:
    """Raises TypeError for values that are neither arrays nor numbers nor text."""
    arrays = {name: np.asarray(value) for name, value in state.items() if _is_array(value)}
    plain = {name: value for name, value in state.items() if name not in arrays}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{f"array/{name}": array for name, array in arrays.items()}, plain=np.array(json.dumps(plain)))
    return buffer.getvalue()


def load_state(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        state = dict(json.loads(str(stored["plain"])))
        return state | {name.removeprefix("array/"): stored[name] for name in stored.files if name.startswith("array/")}


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")
