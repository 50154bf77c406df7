"""Which moments of a run are shown."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import struct
import subprocess
import sys
import termios

import attrs
import pytest

from learnae.cli.progress import AddressLine, ProgressLine, in_words
from learnae.node.connections import FILE
from learnae.trainer.loop import TrainingProgress
from learnae.trainer.status import Status


def test_moments_are_shown_at_intervals_and_the_last_one_always_but_never_twice() -> None:
    shown: list[int] = []
    now = [0.0]
    progress = ProgressLine(lambda moment: shown.append(moment.step), 3.0, lambda: now[0])
    for now[0], step in ((0.0, 1), (1.0, 2), (2.9, 3), (3.0, 4), (4.0, 5)):
        progress(TrainingProgress(step=step, seconds=now[0], loss=0.5, metrics={}))
    assert shown == [1, 4]
    for _ in range(2):
        progress(TrainingProgress(step=5, seconds=4.0, loss=0.5, metrics={}), last=True)
    assert shown == [1, 4, 5]


def status(lineage: bytes = b"l" * 8, node: str = "running", rounds: int = 12_345) -> Status:
    return Status(
        node=node,
        node_starts=1,
        lineage=lineage,
        age=10**7,
        steps=10**6,
        samples=10**7,
        adoptions=100,
        rounds=rounds,
        heard=123,
        merged=23_456,
        refused=1_234,
        outages={},
        last_error="",
    )


METRICS = {"accuracy": 0.98765, "perplexity": 1234.5678, "top_5_accuracy": 0.9999}


def test_what_is_of_the_merged_model_is_called_so() -> None:
    moment = TrainingProgress(step=1, seconds=3.0, loss=0.5, metrics={"accuracy": 0.9}, merged=True)
    assert "accuracy 0.9000 (merged)" in in_words(moment, status(), 120)
    assert "merged)" not in in_words(attrs.evolve(moment, merged=False), status(), 120)


@pytest.mark.parametrize("width", [200, 80, 60, 40, 20, 12])
@pytest.mark.parametrize("metrics", [{}, {"accuracy": 0.98765}, METRICS, {f"metric_{number}": 1.0 for number in range(30)}])
def test_a_line_fits_its_terminal_and_begins_with_the_step(width: int, metrics: dict[str, float]) -> None:
    line = in_words(TrainingProgress(step=123_456, seconds=3.0, loss=0.12345, metrics=metrics), status(), width)
    assert len(line) <= width and line.startswith("step 123,456")


def test_at_80_columns_the_loss_and_the_swarm_are_there_and_what_was_left_out_is_marked() -> None:
    line = in_words(TrainingProgress(step=123_456, seconds=3.0, loss=0.12345, metrics=METRICS), status(), 80)
    assert "loss 0.1235, ..." in line and "merged 23,456" in line


def test_at_80_columns_a_loss_and_a_metric_are_whole() -> None:
    line = in_words(TrainingProgress(step=17_200, seconds=3.0, loss=0.0042, metrics={"accuracy": 0.8667}), status(rounds=111), 80)
    assert "accuracy 0.8667; round 111" in line and "merged" in line


def test_where_there_is_no_terminal_nothing_is_left_out() -> None:
    line = in_words(TrainingProgress(step=123_456, seconds=3.0, loss=0.12345, metrics=METRICS), status())
    assert "top_5_accuracy 0.9999" in line and "refused 1,234" in line


def test_while_a_peer_has_no_lineage_it_says_that_it_looks_for_the_swarm() -> None:
    line = in_words(TrainingProgress(step=1, seconds=0.1, loss=2.5, metrics={}), status(lineage=b"", node="starting", rounds=0))
    assert "node starting" in line and "looking for the swarm" in line and "round" not in line


def test_where_others_reach_this_peer_is_said_once_as_soon_as_its_node_knows(tmp_path, capsys):
    home, now = tmp_path / "home", [0.0]
    home.mkdir(mode=0o700)
    say = AddressLine(home, lambda: now[0])
    say()
    state = {"at": 1.0, "addresses": ["/ip4/10.0.0.1/tcp/4101/p2p/12D3"], "connected": 0, "known": 0, "connections": []}
    (home / FILE).write_text(json.dumps(state))
    for now[0] in (1.0, 2.0, 3.0):
        say()
    assert capsys.readouterr().err.count("/ip4/10.0.0.1/tcp/4101/p2p/12D3\n") == 1


def test_where_nobody_tells_an_address_it_is_not_looked_for_for_ever(tmp_path):
    now = [0.0]
    say = AddressLine(tmp_path, lambda: now[0])
    for second in range(1000):
        now[0] = float(second)
        say()
    assert say._due == math.inf


@pytest.mark.parametrize("columns", [40, 80])
def test_an_address_is_whole_on_a_terminal_that_is_narrower_since_it_is_pasted_into_quotes(tmp_path, columns):
    home, address = tmp_path / "home", f"/ip4/192.168.77.1/tcp/4101/p2p/12D3KooW{'Q' * 44}"
    home.mkdir(mode=0o700)
    (home / FILE).write_text(json.dumps({"at": 1.0, "addresses": [address], "connected": 0, "known": 0, "connections": []}))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    code = "import sys, pathlib; from learnae.cli.progress import AddressLine; AddressLine(pathlib.Path(sys.argv[1]))()"
    subprocess.run([sys.executable, "-P", "-c", code, str(home)], stdout=theirs, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert address in said.split()


@pytest.mark.parametrize("width", [80, None])
def test_a_split_is_said_beside_the_round_for_as_long_as_it_is_reported(width):
    moment, together = TrainingProgress(step=17_200, seconds=3.0, loss=0.0042, metrics={}), status()
    apart = attrs.evolve(together, outages={f"split {'ab' * 8}": "another established lineage"})
    assert "split: see learnae status" in in_words(moment, apart, width)
    assert "split" not in in_words(moment, together, width)
