"""What a slice adds to the rows that a peer has, known before it is fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def added(rows: int, labels: Mapping[str, int], have: Mapping[str, int]) -> float:
    """What a slice adds to rows of which there are `have`, by label: the sum over its labels of n / (1 + have), in rows that count fully.

    So a label that this peer lacks counts fully, and one of which it has many hardly. Where the labels are not told, all rows count as
    rows of one label, of which there are as many as of all together. This is our own design.
    """
    known = labels or {"": rows}
    there = have if labels else {"": sum(have.values())}
    return sum(count / (1 + there.get(label, 0)) for label, count in known.items())


def worth(rows: int, labels: Mapping[str, int], size: int, have: Mapping[str, int]) -> float:
    """The same for each of its bytes."""
    return added(rows, labels, have) / max(1, size)


def rows_by_label(*counted: Mapping[str, int]) -> Mapping[str, int]:
    """Sums by label."""
    total = Counter[str]()
    for labels in counted:
        total.update(labels)
    return total
