"""What a task waits for, in words: for a test that has taken too long."""

from __future__ import annotations

import contextlib
import linecache
import os
import reprlib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import trio

MOST_CHILDREN = 3
OTHERS = (str(Path(trio.__file__).parent) + os.sep, contextlib.__file__)  # files that say nothing about the test


def awaited(task: trio.lowlevel.Task) -> str:
    """The line where it stands, and which calls it is in; of one that waits for others, theirs."""
    frames = list(task.iter_await_frames())
    told = [_told(frame, line) for frame, line in frames if not frame.f_code.co_filename.startswith(OTHERS)]
    if any(frame.f_code.co_name == "_nested_child_finished" for frame, _ in frames):
        told += [f"which waits for: {child}" for child in _children(task)]
    return "; in ".join(told) or "nothing that can be told"


def _children(task: trio.lowlevel.Task) -> Iterator[str]:
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    yield from (awaited(child) for child in children[:MOST_CHILDREN])


def _told(frame: FrameType, line: int | None) -> str:
    code = frame.f_code
    names = [name for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if name != "self"]
    arguments = ", ".join(f"{name}={_short(frame.f_locals[name])}" for name in names if name in frame.f_locals)
    source = linecache.getline(code.co_filename, line or 0).strip()
    return f"{code.co_name}({arguments}) at {Path(code.co_filename).name}:{line}: {source}"


def _short(value: object) -> str:
    try:
        return reprlib.repr(value)
    except Exception:  # a plugin's object that cannot be told
        return type(value).__name__
