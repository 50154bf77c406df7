"""The indexes of the packs that were read last, for all threads that read at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from learnae.plugins.storage.packs import Place
from learnae.records import Cid

INDEXES = 8
ENTRIES = 1 << 16  # blocks in all of them together

Index = Mapping[Cid, Place]


class Indexes:
    """Of each file the index in the version that was read; those read longest ago are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[object, Index]] = OrderedDict()
        self._lock = threading.Lock()  # each read runs in a thread of its own, and several at once

    def names(self) -> list[str]:
        """Of the files whose indexes are kept, those that were read last first."""
        with self._lock:
            return list(reversed(self._kept))

    def find(self, name: str, version: object) -> Index | None:
        """None where it is not known in this version."""
        with self._lock:
            known, index = self._kept.get(name, (None, {}))
            if known != version:
                return None
            self._kept.move_to_end(name)
            return index

    def keep(self, name: str, version: object, index: Index) -> None:
        with self._lock:
            self._kept[name] = version, index
            self._kept.move_to_end(name)
            while len(self._kept) > INDEXES or (len(self._kept) > 1 and self._entries() > ENTRIES):
                self._kept.popitem(last=False)

    def forget(self, name: str) -> None:
        with self._lock:
            self._kept.pop(name, None)

    def _entries(self) -> int:
        return sum(len(index) for _, index in self._kept.values())
