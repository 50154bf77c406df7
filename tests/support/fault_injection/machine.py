"""A machine that can be unlucky as a whole: a disk that fills up, a clock that jumps."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from learnae.records import MEGABYTE

_JUMPING = '''
"""Every Python that starts with this folder on its path: `time.time` is off by what the file says, from one look to the next."""

import time
from pathlib import Path

_real, _file = time.time, Path(__file__).with_name("offset")


def _jumping():
    try:
        return _real() + float(_file.read_text())
    except (OSError, ValueError):
        return _real()


time.time = _jumping
'''


@attrs.define
class SmallDisk:
    """A file system of its own, in memory, that can be filled to the last byte. Needs root."""

    folder: Path
    size_bytes: int = 64 * MEGABYTE

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size_bytes}", "learnae-test", self.folder], check=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def fill(self) -> None:
        """Nothing more can be written until `free`."""
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(MEGABYTE)) == MEGABYTE:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        (self.folder / "filler").unlink()


@attrs.define
class JumpingClock:
    """The wall clock of every Python process that has `path` in its PYTHONPATH. The monotonic clock never jumps, by its definition."""

    path: Path

    def __attrs_post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "sitecustomize.py").write_text(_JUMPING)

    def move(self, seconds: float) -> None:
        """Off by so much from now on."""
        (self.path / "new").write_text(str(seconds))
        (self.path / "new").replace(self.path / "offset")
