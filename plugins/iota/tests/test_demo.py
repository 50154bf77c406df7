"""The system as proposed: four peers on IPFS daemons and a tangle; a peer with all that it runs is killed, and so is the coordinator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KUBO = os.environ.get("LEARNAE_KUBO")  # read now: tests do not see the variables of Learnae
BUILT = Path(__file__).parents[3] / ".nodes" / "ipfs"
LIMIT_SECONDS = 500.0


@pytest.fixture
def kubo() -> str:
    for candidate in (KUBO, str(BUILT), shutil.which("ipfs")):
        if candidate and Path(candidate).exists():
            return candidate
    pytest.skip("needs go: apt-get install golang, then `make nodes`")


@pytest.mark.slow
def test_the_demo_shows_on_ipfs_and_a_tangle_what_it_shows_without(hornet: str, kubo: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install learnae[demo]")
    command = [sys.executable, "-m", "learnae", "demo", "--storage", "ipfs", "--announcer", "iota", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "LEARNAE_KUBO": kubo, "LEARNAE_HORNET": hornet, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = ["SIGKILL to its trainer, its node and all that they run", "the tangle has no coordinator any more", "since it came back"]
    assert [line for line in told if line not in done.stdout] == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
