"""What a figure was measured on: to be printed above it."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib.metadata import version


def describe() -> str:
    """One line with the date, the machine, how busy it was, and the versions."""
    with open("/proc/meminfo") as lines:
        memory = int(next(lines).split()[1]) / 2**20
    parts = (
        datetime.date.today().isoformat(),
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}",
        f"load {os.getloadavg()[0]:.1f} before",
        f"Python {sys.version.split()[0]}",
    )
    packages = (f"{name} {version(name)}" for name in ("learnae", "torch", "numpy"))
    return ", ".join((*parts, *packages))
