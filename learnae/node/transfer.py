"""What came of one update so far."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import attrs

from learnae.content.cids import check
from learnae.records import Block, Cid, Octets


@attrs.define
class Transfer:
    """What came of one update so far: also of one that was cut off, so that its speed is known."""

    limit: int
    bytes: int = 0
    corrupt: int = 0
    overflowed: bool = False
    blocks: dict[Cid, Octets] = attrs.field(factory=dict)
    origin: str = ""  # the label of the storage that had the first block, the root; whoever has put that has put all
    silent: set[str] = attrs.field(factory=set)  # labels of storages that others are asked before
    lock: threading.Lock = attrs.field(factory=threading.Lock, eq=False, repr=False)  # held by storages that deliver

    def take(self, block: Block, source: str = "") -> bool:
        """A block that is what it is named by, within the limit, once; False for one that is not."""
        if block.cid in self.blocks:
            return True
        if not check(block):
            self.corrupt += 1
            return False
        if self.bytes + len(block.data) > self.limit:
            self.overflowed = True
        else:
            self.bytes += len(block.data)
            self.blocks[block.cid] = block.data
            self.origin = self.origin or source
        return True

    def missing(self, cids: Iterable[Cid]) -> list[Cid]:
        return [cid for cid in dict.fromkeys(cids) if cid not in self.blocks]
