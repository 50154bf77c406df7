"""What a figure was measured on: to be printed above it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version


def describe() -> str:
    with open("/proc/meminfo") as lines:
        memory = int(next(lines).split()[1]) / 2**20
    parts = (f"{os.cpu_count()} cores", f"{memory:.0f} GiB", platform.system(), f"Python {sys.version.split()[0]}")
    packages = (f"{name} {version(name)}" for name in ("learnae", "torch", "numpy"))
    return ", ".join((*parts, *packages))
