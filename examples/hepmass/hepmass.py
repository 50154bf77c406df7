"""HEPMASS (UCI Machine Learning Repository): particle collisions in 28 numbers each; does one show the signal? And a synthetic stand-in.

`python hepmass.py FILE` writes a file of synthetic rows in the format of the published one.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs
import numpy as np

from learnae import ConfigError, Problem
from learnae.lowlevel import print_message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = tuple[NDArray[np.float32], NDArray[np.float32]]  # features (rows x 28), labels (rows)


MEASURED = 27
FEATURES = MEASURED + 1  # with the mass
HEADER = "# " + ",".join(("label", *(f"f{number}" for number in range(MEASURED)), "mass"))


MAX_LINE = 8192  # bytes: ten times what 29 numbers of full precision take
GZIP = b"\x1f\x8b"


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line that is not empty, with its number in the file, from 2; the header is checked and left out.

    Raises ConfigError, with file and line, for a file that cannot be read, is cut off, or does not begin with the header.
    """
    number = 1
    try:
        with _opened(path) as file:
            _check_header(path, file.readline(MAX_LINE))
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise flaw(path, number, "is far too long for a row of numbers")
                if line.strip():
                    yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise flaw(path, number, f"after it the compressed data is cut off or damaged: {error}", "fetch the file again") from error
    except OSError as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error.strerror or error}")) from error


def flaw(path: Path, number: int, what: str, remedy: str | None = None) -> ConfigError:
    """An error that names the line."""
    return ConfigError(Problem(f"{path}, line {number}", what, remedy))


def _opened(path: Path) -> BufferedIOBase:
    """By its first bytes, not by its name."""
    with path.open("rb") as file:
        compressed = file.read(len(GZIP)) == GZIP
    return gzip.open(path, "rb") if compressed else path.open("rb")


def _check_header(path: Path, line: bytes) -> None:
    """What follows a second `#` is a remark."""
    names = line.decode("latin-1").lstrip("# ").partition("#")[0].split(",")
    if not line.startswith(b"# label"):
        raise flaw(path, 1, 'is not the header of HEPMASS, which begins with "# label"', "name the published CSV file")
    if len(names) != FEATURES + 1:
        remedy = "take a file of all masses, such as all_train.csv.gz"
        raise flaw(path, 1, f"names {len(names)} columns, not {FEATURES + 1}: label, 27 features and mass", remedy)


BLOCK_ROWS = 4096  # made at once, each block from a stream of its own: the memory is bounded, and fewer rows are a beginning of more

_HIDDEN = 8
_NOISE = 0.3
_SHARPNESS = 3.0
_CONCEPT = 27  # the same laws whatever the seed of the rows, so that rows of two seeds can be learned from and examined with
_WARPS: tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], ...] = (np.tanh, lambda x: np.sinh(0.7 * x), lambda x: x)


def synthetic(rows: int, seed: int) -> Rows:
    """Synthetic data like HEPMASS: features (rows x 28: 27 and the mass, each with mean 0 and deviation 1) and labels (rows; 0 or 1).

    Eight hidden causes make the label, by products and by one that the mass bends, and all 27 features, mixed, noisy and warped. The same
    seed gives the same rows, of which fewer are a beginning of more. An MLP 28-256-256-256-1 gets 85 % right, a linear model 70 %.
    """
    blocks = list(blocks_of(rows, seed))
    if not blocks:
        return np.empty((0, FEATURES), np.float32), np.empty(0, np.float32)
    return np.concatenate([features for features, _ in blocks]), np.concatenate([labels for _, labels in blocks])


def blocks_of(rows: int, seed: int) -> Iterator[Rows]:
    """The same rows, at most `BLOCK_ROWS` at a time."""
    mix, deviations = _laws()
    for block in range(-(-rows // BLOCK_ROWS)):
        features, labels = _block(np.random.default_rng([seed, block]), mix, deviations)
        left = rows - block * BLOCK_ROWS
        yield features[:left], labels[:left]


def _laws() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How hidden causes are mixed into features (8 x 27), and the deviation of each feature after its warp."""
    columns = np.linalg.qr(np.random.default_rng(_CONCEPT).normal(size=(MEASURED, _HIDDEN)))[0]
    mix = columns.T * np.sqrt(MEASURED / _HIDDEN)
    spread = np.sqrt((mix**2).sum(axis=0) + _NOISE**2)
    points, weights = np.polynomial.hermite_e.hermegauss(64)
    squares = [weights @ _warp(np.outer(points, spread))[:, column] ** 2 for column in range(MEASURED)]
    return mix, np.sqrt(np.array(squares) / weights.sum())


def _block(rng: np.random.Generator, mix: NDArray[np.float64], deviations: NDArray[np.float64]) -> Rows:
    hidden = rng.normal(size=(BLOCK_ROWS, _HIDDEN))
    mass = rng.integers(-2, 3, size=BLOCK_ROWS) / np.sqrt(2)
    pull = hidden[:, 0] * (1 + mass / 2) + np.abs(hidden[:, 1]) - 0.8 + hidden[:, 2] * hidden[:, 3]
    labels = rng.random(BLOCK_ROWS) < 1 / (1 + np.exp(-_SHARPNESS * pull))
    measured = _warp(hidden @ mix + _NOISE * rng.normal(size=(BLOCK_ROWS, MEASURED))) / deviations
    return np.column_stack([measured, mass]).astype(np.float32), labels.astype(np.float32)


def _warp(plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column by one of three odd functions, so that the means stay 0."""
    warped = np.empty_like(plain)
    for first, warp in enumerate(_WARPS):
        warped[:, first :: len(_WARPS)] = warp(plain[:, first :: len(_WARPS)])
    return warped


@attrs.frozen(eq=False)
class Scaling:
    """Mean and deviation of each feature (float32, 28). One that is constant becomes 0, wherever it keeps to that."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Self:
        """From these rows (rows x 28), at least one."""
        mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        constant = deviation <= 1e-6 * np.abs(mean)
        return cls(mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features - self.mean) / self.deviation


@attrs.frozen
class Share:
    """The rows `i` with `i % of == index`; of a file in any order, each share is like the whole."""

    index: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    of: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def __attrs_post_init__(self) -> None:
        if self.index >= self.of:
            raise ValueError(f"there is no share {self.index} of {self.of}: they are counted from 0")

    @classmethod
    def parse(cls, text: str, key: str = "share") -> Self:
        """From words such as "2/4", the second of four. Raises ConfigError that names `key`."""
        form = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
        if form is None or not 1 <= int(form[1]) <= int(form[2]):
            raise ConfigError(Problem(key, f"{text!r} is no share", 'write "2/4" for the second of four'))
        return cls(int(form[1]) - 1, int(form[2]))

    def holds(self, row: int) -> bool:
        return row % self.of == self.index


CHUNK_ROWS = 16_384  # 12 MB of text, 2 MB of numbers


def chunks_of(path: Path, share: Share | None = None, *, after: int = 0, chunk_rows: int = CHUNK_ROWS) -> Iterator[Rows]:
    """The rows of a share as they stand in the file, behind the first `after` rows, at most `chunk_rows` at once.

    Rows are counted from 0, behind the header; lines of other shares are not looked into. Raises ConfigError, with file and line, for
    what is no row: another count of values, no number, one that is not finite, a label that is neither 0 nor 1.
    """
    share = share or Share()
    lines = (line for row, line in enumerate(lines_of(path)) if row >= after and share.holds(row))
    while chunk := list(islice(lines, chunk_rows)):
        yield _parsed(path, chunk)


def _parsed(path: Path, chunk: Sequence[tuple[int, bytes]]) -> Rows:
    """All at once, which is fast; only where that fails line by line, to name the culprit."""
    table = _numbers([line for _, line in chunk])
    if isinstance(table, str) or _flaw_of(table):
        for number, line in chunk:
            row = _numbers([line])
            if what := row if isinstance(row, str) else _flaw_of(row):
                raise flaw(path, number, what)
        raise flaw(path, chunk[0][0], f"begins {len(chunk)} lines of rows that do not fit together")
    assert not isinstance(table, str)
    return table[:, 1:], table[:, 0].copy()


def _numbers(lines: Sequence[bytes]) -> NDArray[np.float32] | str:
    """A table (lines x 29), or why there is none."""
    try:
        table = np.loadtxt([line.decode("latin-1") for line in lines], np.float32, comments=None, delimiter=",", ndmin=2)
    except ValueError:
        return f"holds something that is no number, or not {FEATURES + 1} values"
    return table


def _flaw_of(table: NDArray[np.float32]) -> str | None:
    if table.shape[1] != FEATURES + 1:
        return f"has {table.shape[1]} values, not {FEATURES + 1}"
    if not np.isfinite(table).all():
        return "holds a value that is not finite (or too large for float32)"
    if not np.isin(table[:, 0], (0, 1)).all():
        return f"has the label {table[0, 0]:g}, which is neither 0 nor 1"
    return None


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


MIDDLE_MASS, MASS_DEVIATION = 1000.0, 250 * np.sqrt(2)  # GeV: of the five masses 500, 750, ... 1500


def write_like_published(path: Path, rows: int, seed: int) -> None:
    """A CSV file of synthetic rows, compressed if its name ends with .gz. Its header says that it is synthetic.

    The file appears when it is whole. Raises OSError.
    """
    part = path.with_name(f"{path.name}.part")
    with gzip.open(part, "wb", compresslevel=1) if path.suffix == ".gz" else part.open("wb") as file:
        file.write(f"{HEADER} # SYNTHETIC: made by hepmass.py with seed {seed}, no physics in it\n".encode())
        for features, labels in blocks_of(rows, seed):
            block = np.column_stack([labels, features]).astype(np.float64)
            block[:, -1] = MIDDLE_MASS + MASS_DEVIATION * block[:, -1]
            np.savetxt(file, block, fmt="%.18e", delimiter=",")
    part.replace(path)


def main() -> None:
    options = argparse.ArgumentParser(prog="python hepmass.py", description="Write SYNTHETIC rows in the format of HEPMASS.")
    options.add_argument("file", type=Path, help="where to; compressed if the name ends with .gz")
    options.add_argument("--rows", type=int, default=200_000, help="how many (%(default)s)")
    options.add_argument("--seed", type=int, default=0, help="the same seed gives the same rows (%(default)s)")
    chosen = options.parse_args()
    try:
        write_like_published(chosen.file, chosen.rows, chosen.seed)
    except OSError as error:
        print_message(f"{chosen.file} cannot be written: {error.strerror}")
        sys.exit(1)


if __name__ == "__main__":
    main()
