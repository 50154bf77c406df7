"""The table, the words and the picture at the end."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from rich.console import Console

from learnae.demo.director import Baselines, Director
from learnae.demo.processes import Counts, Peer, Plan, Stage, State
from learnae.demo.screen import closing_table, live_table, summary

BASELINES = Baselines(2000, (0.3, 0.25, 0.2, 0.25), 0.97)


@pytest.fixture
def peers() -> list[Peer]:
    classes = [(0, 1, 2), (3, 4, 5), (6, 7), (8, 9)]
    peers = [
        Peer(number, own, State.DONE, accuracy=0.9 + number / 100, curve=[(5.0, 0.2), (9.0, 0.6), (20.0, 0.9)], now=Counts(merged=40))
        for number, own in enumerate(classes, 1)
    ]
    peers[1].killed_at, peers[1].back_at, peers[1].before = 10.0, 15.0, Counts(merged=30)
    return peers


def test_the_table_sets_each_peer_beside_itself_alone(peers: list[Peer]) -> None:
    shown = io.StringIO()
    Console(width=100, file=shown).print(closing_table(peers, BASELINES))
    rows = [" ".join(line.split()) for line in shown.getvalue().splitlines()]
    assert "peer 1 0 1 2 30.0 % 91.0 % merged 40" in rows
    assert "peer 2 3 4 5 25.0 % 92.0 % merged 70, 40 since it came back" in rows
    assert "mean 25.0 % 92.5 %" in rows


@pytest.mark.parametrize(("width", "more"), [(80, ""), (110, " hears refused data")])
def test_the_live_table_shows_as_much_as_the_terminal_has_room_for(peers: list[Peer], tmp_path: Path, width: int, more: str) -> None:
    director = Director(Plan(), Stage(tmp_path))
    director.casts = {"": peers}
    peers[0].state = State.STARTING
    shown = io.StringIO()
    Console(width=width, file=shown).print(live_table(director, width))
    rows = [" ".join(line.split()) for line in shown.getvalue().splitlines()]
    assert f"peer images state steps accuracy merged{more}" in rows
    assert [row for row in rows if row.startswith("peer 1 0 1 2 loading PyTorch 0") and " 91.0 % 40" in row] != []
    assert "…" not in shown.getvalue()


def test_the_words_say_the_same(peers: list[Peer]) -> None:
    said = summary(peers, BASELINES)
    assert [number for number in ("30.0 %", "92.5 %", "97.0 %", "2,000") if number not in said] == []


@pytest.mark.slow
def test_the_picture_is_a_png_that_can_be_read(peers: list[Peer], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install learnae[demo]")
    from learnae.demo.picture import draw_kill

    director = Director(Plan(), Stage(tmp_path))
    director.casts = {"": peers}
    head = draw_kill(director, BASELINES)[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (1560, 744)
