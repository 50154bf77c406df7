"""The demo on four daemons of a private network, one of which is killed with its peer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_SECONDS = 400.0


@pytest.mark.slow
def test_the_demo_shows_on_ipfs_what_it_shows_without(kubo_program: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install learnae[demo]")
    command = [sys.executable, "-m", "learnae", "demo", "--storage", "ipfs", "--out", str(tmp_path)]
    environment = {**os.environ, "LEARNAE_KUBO": kubo_program, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILL to its trainer, its node and its daemon" in done.stdout
    assert "since it came back" in done.stdout
    assert [name for name in os.listdir(tmp_path) if name.startswith("learnae-demo-")] == []
