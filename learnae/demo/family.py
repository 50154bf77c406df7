"""Processes that processes have started, such as the daemons of a node."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def descendants(pids: Iterable[int]) -> set[int]:
    """Of living processes, as Linux tells them; elsewhere none are found."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, new = set[int](), list(pids)
    while new:
        for pid in children.get(new.pop(), ()):
            if pid not in found:
                found.add(pid)
                new.append(pid)
    return found


def _parents() -> Iterable[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            behind_the_name = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        yield int(stat.parent.name), int(behind_the_name[1])
