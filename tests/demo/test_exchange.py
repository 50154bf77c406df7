"""The demo with rows: three acts with the same processes, what is shown of them, and when it is content."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import attrs
import pytest
import trio
from rich.console import Console

from learnae.demo.director import Baselines
from learnae.demo.exchange import (
    BOTH,
    EXCHANGE,
    ROWS,
    WEIGHTS,
    ExchangeDirector,
    exchange_closing,
    exchange_in_words,
    exchange_shortcomings,
    exchange_summary,
    exchange_table,
)
from learnae.demo.processes import Commands, Plan, Stage, State
from learnae.identity.homes import claim
from learnae.identity.keys import Identity
from tests.demo.test_director import ACTOR

BASELINES = Baselines(900, (0.2,) * 5, 0.96)
COMPARED = f'import sys; print(\'{{"steps": %s, "alone": {[0.2] * 5}, "central": 0.96}}\' % sys.stdin.readline().strip())'


def played(folder: Path, reached: dict[str, float], rows: int = 56) -> ExchangeDirector:
    director = ExchangeDirector(EXCHANGE, Stage(folder))
    for act, accuracy in reached.items():
        for peer in director.casts[act]:
            peer.state, peer.accuracy, peer.rows, peer.fetched = State.DONE, accuracy, rows * (act != WEIGHTS), 12_000
            peer.by_steps = [(0, 0.2), (40, accuracy)]
    director.act = BOTH
    return director


@pytest.fixture
def director(tmp_path: Path) -> ExchangeDirector:
    return played(tmp_path, {WEIGHTS: 0.86, ROWS: 0.88, BOTH: 0.94})


def test_one_act_follows_the_other_with_the_same_processes(tmp_path: Path) -> None:
    commands = Commands((sys.executable, ACTOR, "calm"), (sys.executable, "-c", COMPARED))
    director = ExchangeDirector(attrs.evolve(EXCHANGE, steps=5, patience_seconds=60.0), Stage(tmp_path), commands)
    trio.run(director.play)
    assert director.failure == ""
    assert {act: {peer.state for peer in peers} for act, peers in director.casts.items()} == {
        act: {State.DONE} for act in (WEIGHTS, ROWS, BOTH)
    }
    assert all(peer.steps >= 5 for peers in director.casts.values() for peer in peers)
    assert [event[:6] for _, event in director.events] == ["the pe", "1 of 3", "2 of 3", "3 of 3", "all ar"]
    assert director.baselines is not None and director.baselines.central == 0.96


def test_each_act_is_a_swarm_of_its_own_in_which_a_peer_gives_and_takes_what_the_act_says() -> None:
    plan = Plan.from_json(EXCHANGE.to_json())
    weights, rows, both = (plan.config(2, act) for act in (WEIGHTS, ROWS, BOTH))
    assert len({config["swarm"]["name"] for config in (weights, rows, both)}) == 3
    assert ("data" in weights, rows["data"]["share_fraction"], both["data"]) == (False, 0.05, rows["data"])
    assert rows["selector"]["use"] == "fixed" and "peers" not in rows["selector"], "nobody is named, so no model is fetched"
    assert (both["selector"]["use"], both["selector"]["count"]) == ("planner", 4)


def test_an_act_that_has_a_name_has_homes_of_its_own(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.home(1) != stage.home(1, ROWS) != stage.home(1, BOTH)


@pytest.mark.parametrize("act", [WEIGHTS, ROWS, BOTH])
def test_the_table_of_each_act_fits_into_80_columns(director: ExchangeDirector, act: str) -> None:
    director.act, shown = act, io.StringIO()
    Console(width=80, file=shown).print(exchange_table(director, 80))
    rows = [" ".join(line.split()) for line in shown.getvalue().splitlines()]
    assert "peer images weights only rows only both" in rows
    assert "rows of others 0 56 56" in rows
    assert "…" not in shown.getvalue() and "94.0 %" in shown.getvalue()


def test_where_there_is_no_terminal_a_line_tells_the_act(director: ExchangeDirector) -> None:
    director.act = ROWS
    assert exchange_in_words(director).startswith("rows only: peer 1 88.0 %, peer 2")


def test_the_end_sets_the_acts_beside_each_other(director: ExchangeDirector) -> None:
    shown = io.StringIO()
    Console(width=80, file=shown).print(exchange_closing(director, BASELINES))
    rows = [" ".join(line.split()) for line in shown.getvalue().splitlines()]
    assert "peer 1 0 1 20.0 % 86.0 % 88.0 % 94.0 %" in rows
    assert "mean 20.0 % 86.0 % 88.0 % 94.0 %" in rows
    assert "fetched by each 12 kB 12 kB 12 kB" in rows
    said = exchange_summary(director, BASELINES)
    assert [number for number in ("20.0 %", "86.0 %", "88.0 %", "56 images", "94.0 %", "900", "96.0 %") if number not in said] == []


def test_the_demo_is_content(director: ExchangeDirector) -> None:
    assert exchange_shortcomings(director) == []


@pytest.mark.parametrize(
    ("reached", "rows", "said"),
    [
        ({WEIGHTS: 0.86, ROWS: 0.5, BOTH: 0.94}, 56, "rows only: the mean accuracy is 0.500"),
        ({WEIGHTS: 0.86, ROWS: 0.88, BOTH: 0.8}, 56, "both: the mean accuracy is 0.800"),
        ({WEIGHTS: 0.86, ROWS: 0.88, BOTH: 0.94}, 0, "rows only: peer 1 got no rows of others"),
        ({WEIGHTS: 0.86, ROWS: 0.88}, 56, "both: peer 1, peer 2, peer 3, peer 4, peer 5 never reported an accuracy"),
    ],
    ids=["rows bring nothing", "both are bad", "no rows", "silent"],
)
def test_the_demo_says_why_it_is_not(tmp_path: Path, reached: dict[str, float], rows: int, said: str) -> None:
    assert exchange_shortcomings(played(tmp_path, reached, rows))[0].startswith(said)


@pytest.mark.slow
def test_the_picture_of_the_acts_is_a_png(director: ExchangeDirector) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install learnae[demo]")
    from learnae.demo.picture import draw_exchange

    head = draw_exchange(director, BASELINES)[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (1560, 744)


def test_a_peer_has_one_key_in_all_acts_where_a_plugin_knows_it_by_its_key(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from learnae.demo.peer import move_in

    stage = Stage(tmp_path)
    with claim(stage.home(1)) as home:
        known = Identity.load_or_create(home.key_path).peer
    move_in(stage.home(1, ROWS), stage.home(1))
    move_in(stage.home(1, ROWS), stage.home(1))
    with claim(stage.home(1, ROWS)) as home:
        assert Identity.load_or_create(home.key_path).peer == known
