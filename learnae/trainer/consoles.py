"""What consoles and notebooks keep of an earlier cell, and with it objects that nobody uses any more."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

SHOWN = re.compile(r"_+\d*")


def forget(kind: type) -> None:
    """Let go of objects of this kind that are held by the last traceback, or by a notebook since a cell has shown them."""
    for error in _chain(getattr(sys, "last_value", None)):
        traceback.clear_frames(error.__traceback__)
    for names in _notebook():
        for name, value in list(names.items()):
            if isinstance(value, kind) and (isinstance(name, int) or SHOWN.fullmatch(name)):
                del names[name]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _notebook() -> Iterator[dict[Any, Any]]:
    """IPython's names, among them `_`, `__` and `_3`, and its `Out`."""
    ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    names = getattr(ipython, "user_ns", None)
    if isinstance(names, dict):
        yield names
        if isinstance(names.get("_oh"), dict):
            yield names["_oh"]
