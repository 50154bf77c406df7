"""Indexes are read and kept by several threads at once: each fetch runs in one of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from learnae.plugins.directory import search
from learnae.plugins.directory.search import Indexes
from learnae.records import Cid


class Interrupting(dict[Any, Any]):
    """An index during whose counting another thread keeps one: the moment at which the table must not change."""

    def __init__(self, table: Indexes) -> None:
        super().__init__()
        self.table, self.threads = table, list[threading.Thread]()

    def __len__(self) -> int:
        if self.threads:
            return 1
        thread = threading.Thread(target=self.table.keep, args=("other", 1, {}))
        self.threads.append(thread)
        thread.start()
        thread.join(0.2)  # it may have to wait for us: then it comes after
        return 1


def kept(table: Indexes, names: Iterator[str]) -> list[str]:
    return [name for name in names if table.find(name, 1) is not None]


def test_an_index_that_another_thread_keeps_while_they_are_counted_disturbs_nobody() -> None:
    table = Indexes()
    interrupting = Interrupting(table)
    for name, index in (("a", interrupting), ("b", {}), ("c", {})):  # the counting goes on after the interruption
        table.keep(name, 1, index)
    for thread in interrupting.threads:
        thread.join(10)
        assert not thread.is_alive()
    assert kept(table, iter(("a", "b", "c", "other"))) == ["a", "b", "c", "other"]


def test_an_index_of_another_version_of_the_file_is_none() -> None:
    table = Indexes()
    table.keep("a", 1, {Cid("x"): (0, 1)})
    assert table.find("a", 2) is None
    assert table.find("a", 1) == {Cid("x"): (0, 1)}
    table.forget("a")
    assert table.find("a", 1) is None and table.names() == []


def test_those_read_longest_ago_are_forgotten_by_number_and_by_size() -> None:
    table = Indexes()
    for number in range(search.INDEXES + 1):
        table.keep(f"{number}", 1, {})
        table.find("0", 1)
    assert "0" in table.names() and "1" not in table.names()
    table.keep("huge", 1, dict.fromkeys(map(str, range(search.ENTRIES + 1)), (0, 0)))  # type: ignore[arg-type]
    assert [name for name in ("0", "2", "huge") if name in table.names()] == ["huge"]
