from __future__ import annotations

import json
import math
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.errors import ConfigError, PluginError, Problem
from learnae.link.messages import MAX_LINE, Failed, GarbledError, Lines, MergeResult, Message, Report, Taken, TrainerProgress
from learnae.observations import UpdateVerdict
from learnae.records import Cid, PeerId
from tests.support.hostile.link_lines import MESSAGES, PROGRESS, REPORT

LINES = Lines()


@pytest.mark.parametrize("message", MESSAGES, ids=[f"{i}-{type(message).__name__}" for i, message in enumerate(MESSAGES)])
def test_a_message_survives_its_line(message: Message) -> None:
    line = LINES.encode(message)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert LINES.decode(line) == message


@given(st.text(), st.binary(max_size=40), st.integers(), st.floats(allow_nan=False))
def test_any_text_and_number_survives(text: str, lineage: bytes, number: int, loss: float) -> None:
    for message in (
        MergeResult(text, number, 0, 0, lineage, number, text),
        Taken(0, TrainerProgress(number, lineage, 0, 0, 0, loss, loss)),
    ):
        assert LINES.decode(LINES.encode(message)) == message


def test_a_loss_that_is_no_number_survives() -> None:
    taken = LINES.decode(LINES.encode(Taken(0, TrainerProgress(0, b"", 0, 0, 0, 0.0, math.nan))))
    assert isinstance(taken, Taken) and taken.progress.loss is not None and math.isnan(taken.progress.loss)


def test_a_plugin_may_have_judged_in_numbers_of_numpy() -> None:
    verdict = UpdateVerdict(
        round=1, peer=PeerId("ab"), number=1, root=Cid("b"), merged=True, weight=np.float32(0.5), scale=1.0, stage="mine", reason=""
    )
    report = LINES.decode(LINES.encode(Report(attrs.evolve(REPORT, verdicts=(verdict,)))))
    assert isinstance(report, Report) and report.report.verdicts[0].weight == 0.5


def test_a_whole_number_may_stand_for_a_float_and_nothing_else_for_anything() -> None:
    line = json.loads(LINES.encode(Taken(0, PROGRESS)))
    line["progress"]["step_seconds"] = 1
    taken = LINES.decode(json.dumps(line).encode() + b"\n")
    assert isinstance(taken, Taken) and taken.progress.step_seconds == 1.0


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b"3\n",
        b"{}\n",
        b'{"is": "Adopted", "number": 1}',
        b'{"is": "Adopted"}\n',
        b'{"is": "Adopted", "number": "1"}\n',
        b'{"is": "Adopted", "number": true}\n',
        b'{"is": "Adopted", "number": 1.0}\n',
        b'{"is": "Adopted", "number": null}\n',
        b'{"is": "Adopted", "number": 1, "more": 2}\n',
        b'{"is": "Unheard", "number": 1}\n',
        b'{"is": ["Adopted"], "number": 1}\n',
        b'{"is": "Adopted", "number": 1}\xff\n',
        b"[" * 5000 + b"\n",
    ],
)
def test_what_cannot_be_meant_is_garbled(line: bytes) -> None:
    with pytest.raises(GarbledError):
        LINES.decode(line)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(GarbledError):
        LINES.decode(data + b"\n")


def test_a_line_has_a_longest_length_on_both_sides() -> None:
    long = Failed("x" * MAX_LINE)
    with pytest.raises(ValueError, match="more than"):
        LINES.encode(long)
    with pytest.raises(GarbledError):
        LINES.decode(LINES.encode(long, 2 * MAX_LINE))


@pytest.mark.parametrize("error", [ConfigError([Problem("a", "b", "c"), Problem("d", "e")]), PluginError("p", "doing", "why")])
def test_an_error_that_the_user_must_act_on_crosses_the_link(error: Any) -> None:
    failed = LINES.decode(LINES.encode(Failed.of(error)))
    assert isinstance(failed, Failed)
    there = failed.as_error()
    assert type(there) is type(error) and str(there) == str(error)


def test_a_bug_crosses_the_link_as_text() -> None:
    failed = Failed.of(KeyError("x"))
    assert failed.text == "KeyError: 'x'" and failed.as_error() is None


def test_of_a_group_the_gravest_crosses_the_link() -> None:
    wrong = ConfigError([Problem("a", "b")])
    group = BaseExceptionGroup("", [wrong, BaseExceptionGroup("", [ConfigError([Problem("c", "d")])])])
    assert str(Failed.of(group).as_error()) == str(wrong)
    bug = Failed.of(BaseExceptionGroup("", [wrong, KeyError("x")]))
    assert bug.as_error() is None and bug.text == "KeyError: 'x'" and "a: b" in bug.trace
