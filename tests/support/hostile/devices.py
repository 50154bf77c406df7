"""A device in the place of a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

ZEROS = os.makedev(1, 5)  # /dev/zero on Linux: it has no end


def make_device(path: Path) -> None:
    """Skips the test where we may not."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, ZEROS)
    except PermissionError:
        pytest.skip("needs root: only it can make a device")
