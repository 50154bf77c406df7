"""Where commands show something."""

from __future__ import annotations

import sys


def on_terminal(stream: str = "stdout") -> bool:
    """Whether somebody sits there; a stream that was closed before the start is none."""
    found = getattr(sys, stream)
    return found is not None and found.isatty()
