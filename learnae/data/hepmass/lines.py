"""The lines of a published file: compressed or not, each with its number, none of any length."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

from learnae.data.hepmass.columns import FEATURES
from learnae.errors import ConfigError, Problem

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
