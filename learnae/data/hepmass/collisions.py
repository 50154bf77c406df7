"""A published file as a peer uses it: an examination that all share, and training rows of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae.data.hepmass.reading import CHUNK_ROWS, chunks_of
from learnae.data.hepmass.scaling import Scaling
from learnae.data.hepmass.shares import Share
from learnae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from learnae.data.hepmass.columns import Rows

EXAM_ROWS = 10_000
KEPT_ROWS = 2_000_000  # 232 MB


@attrs.define
class Collisions:
    """Iterate over it for the batches of one pass: standardised features (rows x 28) and labels (rows).

    A pass follows the file, shuffled within chunks. From the second one on it reads from memory as many rows as are kept
    there, and the rest from the file.
    """

    exam: Rows
    _path: Path
    _scaling: Scaling
    _share: Share
    _batch_rows: int
    _chunk_rows: int
    _kept_rows: int
    _rng: np.random.Generator
    _kept: list[Rows] = attrs.field(factory=list, init=False)
    _whole: bool = attrs.field(default=False, init=False)  # all of it is kept

    @classmethod
    def open(
        cls,
        path: Path,
        share: Share | None = None,
        *,
        batch_rows: int = 256,
        chunk_rows: int = CHUNK_ROWS,
        exam_rows: int = EXAM_ROWS,
        kept_rows: int = KEPT_ROWS,
        seed: int | None = None,
    ) -> Collisions:
        """The first `exam_rows` rows are everybody's examination, and say how features are standardised; the others are divided.

        So peers that read the same file agree on both to the bit. Raises ConfigError for a file that is no HEPMASS, or too short.
        """
        features, labels = next(chunks_of(path, chunk_rows=exam_rows), (np.empty((0, 0), np.float32), np.empty(0, np.float32)))
        if len(labels) < exam_rows:
            raise ConfigError(Problem(str(path), f"has {len(labels)} rows, and the first {exam_rows} are for the examination alone"))
        scaling = Scaling.of(features)
        return cls(
            (scaling(features), labels), path, scaling, share or Share(), batch_rows, chunk_rows, kept_rows, np.random.default_rng(seed)
        )

    def __iter__(self) -> Iterator[Rows]:
        for features, labels in self._chunks():
            order = self._rng.permutation(len(labels))
            for start in range(0, len(order), self._batch_rows):
                batch = order[start : start + self._batch_rows]
                yield features[batch], labels[batch]

    def _chunks(self) -> Iterator[Rows]:
        kept = list(self._kept)
        yield from kept
        if self._whole:
            return
        seen, after = len(kept), len(self.exam[1]) + self._share.of * _rows_in(kept)
        for features, labels in chunks_of(self._path, self._share, after=after, chunk_rows=self._chunk_rows):
            chunk, seen = (self._scaling(features), labels), seen + 1
            self._keep(seen, chunk)
            yield chunk
        self._whole = seen == len(self._kept)

    def _keep(self, number: int, chunk: Rows) -> None:
        """Only a beginning without gaps is kept."""
        if number == len(self._kept) + 1 and _rows_in([*self._kept, chunk]) <= self._kept_rows:
            self._kept.append(chunk)


def _rows_in(chunks: Iterable[Rows]) -> int:
    return sum(len(labels) for _, labels in chunks)
