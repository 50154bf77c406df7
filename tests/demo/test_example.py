"""The first example does what its README says, as far as a single peer can."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits" / "train.py"


@pytest.mark.slow
def test_a_peer_alone_reads_only_the_digits_that_it_has_seen(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--classes", "0,1,2", "--epochs", "50"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    found = re.fullmatch(r"epoch 50: accuracy (0\.\d+), merged 0 updates\n", result.stdout)
    assert found is not None, result.stdout
    assert 0.2 < float(found[1]) <= 107 / 360  # there are 36, 36 and 35 of its digits among the 360


def test_the_example_is_short_and_its_three_lines_are_numbered() -> None:
    lines = EXAMPLE.read_text().splitlines()
    assert len(lines) < 60
    assert [line.rpartition("  # ")[2][:2] for line in lines if "swarm" in line and "  # " in line] == ["1:", "2:", "3:"]
