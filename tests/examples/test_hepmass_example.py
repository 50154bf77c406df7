"""The HEPMASS example: two peers with half of the rows each, on a file of the published form."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.hepmass.hepmass import write_like_published

EXAMPLE = Path(__file__).parents[2] / "examples" / "hepmass"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_peers_with_half_of_the_rows_each_learn_and_merge(start, tmp_path):
    data = tmp_path / "synthetic.csv.gz"
    write_like_published(data, rows=40_000, seed=0)
    peers = [start("hepmass", "train.local_steps=20", HEPMASS_FILE=str(data), HEPMASS_SHARE=f"{number}/2") for number in (1, 2)]
    for said in [peer.until(steps=200, merged=10) for peer in peers]:
        losses = [moment["metrics"]["exam_loss"] for moment in said]
        assert losses[-1] < math.log(2) - 0.25  # what a model that knows nothing pays; a fast machine has learned before it first tells
        assert said[-1]["metrics"]["accuracy"] > 0.8  # a linear model gets 0.7
    assert [peer.interrupt() for peer in peers] == [130, 130]


@pytest.mark.slow
def test_without_the_file_it_says_where_to_find_one_and_how_to_make_one():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEPMASS")}
    command = [sys.executable, "-m", "learnae", "run", "learnae.toml"]
    result = subprocess.run(command, cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 2
    assert "UCI Machine Learning Repository" in result.stderr
    assert "python hepmass.py synthetic.csv.gz" in result.stderr
