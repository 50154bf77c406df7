"""Fashion-MNIST (Zalando SE, MIT): 70,000 pictures of clothes, as Debian's package dataset-fashion-mnist installs them.

The files are of the form IDX, compressed: a magic number, the sizes of all dimensions, and a byte for each pixel or label. Nothing that a
file says of its sizes is believed before it is compared with what was asked for, and no more is unpacked than that.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae import ConfigError, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

FOLDER = "/usr/share/datasets/fashion-mnist"
NAMES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SIDE = 28
MOST_PICTURES = 100_000
HOW = "type `apt-get install dataset-fashion-mnist`, or name the folder of its files in FASHION_FOLDER"

_CHUNK = 1 << 20
_BYTES = 0x08  # the only type of values in these files


@attrs.frozen(eq=False)
class Pictures:
    """Pictures, rows of 28 x 28 bytes from 0 (white) to 255, and what each shows: 0 to 9 (int64), by `NAMES`."""

    images: Pixels
    labels: NDArray[np.int64]

    def of(self, classes: list[int]) -> Pictures:
        """Those that show one of these."""
        mine = np.isin(self.labels, classes)
        return Pictures(self.images[mine], self.labels[mine])


def read(part: str) -> Pictures:
    """`part` is "train" (60,000 pictures) or "t10k" (10,000). Raises ConfigError, with what to do, where they are not there or damaged."""
    folder = Path(os.environ.get("FASHION_FOLDER", FOLDER)).expanduser()
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", (SIDE, SIDE))
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", ())
    if len(images) != len(labels) or labels.max(initial=0) >= len(NAMES):
        raise flaw(folder, f"has {len(images):,} pictures and {len(labels):,} labels from 0 to {labels.max(initial=0)}")
    return Pictures(images, labels.astype(np.int64))


def read_idx(path: Path, shape: tuple[int, ...]) -> Pixels:
    """Items of this shape, at most `MOST_PICTURES` of them; the first dimension of the result is their number. Raises ConfigError."""
    try:
        with gzip.open(path, "rb") as file:
            head = file.read(4 + 4 * (1 + len(shape)))
            count = _count(path, head, shape)
            wanted, content = count * math.prod(shape), bytearray()
            while len(content) <= wanted and (chunk := file.read(min(_CHUNK, wanted + 1 - len(content)))):
                content += chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise flaw(path, f"is cut off or damaged: {error}") from error
    except OSError as error:
        raise flaw(path, f"cannot be read: {error.strerror or error}") from error
    if len(content) != wanted:
        raise flaw(path, f"is {'longer' if len(content) > wanted else 'shorter'} than the {wanted:,} bytes that it announces")
    return np.frombuffer(bytes(content), np.uint8).reshape(count, *shape)


def _count(path: Path, head: bytes, shape: tuple[int, ...]) -> int:
    dimensions = 1 + len(shape)
    if len(head) != 4 + 4 * dimensions or head[:4] != bytes((0, 0, _BYTES, dimensions)):
        raise flaw(path, f"is no IDX file of bytes in {dimensions} dimensions")
    count, *sizes = struct.unpack(f">{dimensions}I", head[4:])
    if tuple(sizes) != shape or not 1 <= count <= MOST_PICTURES:
        announced, most = (" x ".join(map(str, one)) for one in ((count, *sizes), (MOST_PICTURES, *shape)))
        raise flaw(path, f"announces {announced} bytes: wanted are at most {most}")
    return int(count)


def flaw(path: Path, message: str) -> ConfigError:
    return ConfigError(Problem(str(path), message, HOW))
