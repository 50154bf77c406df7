"""What the demo writes where there is no terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import trio
import trio.testing
from rich.console import Console

from learnae.demo.director import Director
from learnae.demo.processes import Plan, Stage
from learnae.demo.screen import LINE_SECONDS, Manner, in_words, live_table, watch

pytestmark = pytest.mark.virtual_time


async def test_a_line_that_says_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    director, out = Director(Plan(), Stage(tmp_path)), io.StringIO()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, director, Console(file=out, width=100), Manner(live_table, in_words))
        for accuracy in (0.25, 0.25, 0.25, 0.5, 0.5, 0.5):
            director.peers[0].accuracy = accuracy
            await trio.sleep(LINE_SECONDS)
        nursery.cancel_scope.cancel()
    assert [line.split()[4] for line in out.getvalue().splitlines()] == ["25.0", "50.0"]
