"""What a file's plugins are read by takes neither the library nor zeroconf: their import takes a second."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("learnae_libp2p", "learnae_libp2p.announcer", "learnae_libp2p.options")
HEAVY = {"libp2p", "multiaddr", "numpy", "zeroconf"}


def test_the_announcer_is_imported_without_the_library() -> None:
    code = f"import sys, {', '.join(MODULES)}; print(sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
