"""Text that somebody else wrote does nothing to a terminal or to a line of the log; what is printable stays as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from learnae.logs import make_logger
from learnae.texts import TEXT_CHARACTERS, as_json, harmless, harmless_lines, in_shell
from tests.support.hostile.texts import TEXTS, WORST, encodable, is_harmless, without_colours

LANGUAGES = [
    *("Grüße, naïve façade — “quoted” … ½ €", "Ελληνικά", "Русский язык", "Tiếng Việt", "C:\\path\\n", "a\u00a0b\u202fc"),
    *("עברית שלום", "اَلْعَرَبِيَّةُ ۝", "می\u200cخواهم", "क्ष क्\u200dष हिन्दी", "ไทยที่นี่", "日本語\u3000全角", "中文", "한국어"),  # noqa: RUF001  # Arabic is meant
    *("🙂 👩\u200d💻 👩🏽\u200d💻 ❤️",),
]
MOST_OF_A_LINE = 1_500_000
SHOWING_NOTHING = set("\u2800\u3164\uffa0\u115f\u1160")

# -- the filter ------------------------------------------------------------------------------------------------------------------


@given(TEXTS)
@example(WORST)
def test_what_is_shown_is_one_line_that_does_nothing_and_is_shown_again_alike(text: str) -> None:
    shown = harmless(text)
    assert is_harmless(shown) and "\n" not in shown
    assert harmless(shown, len(shown)) == shown
    assert shown.encode()


@given(st.text(st.characters(exclude_categories=["C", "Z", "M"]), max_size=50).filter(SHOWING_NOTHING.isdisjoint))
def test_letters_digits_and_signs_of_all_writings_stay(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("text", LANGUAGES)
def test_languages_are_written_as_they_are_written(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("text", ["\u200dx", "a\u200db", "a\u200c", "\u200c", "🙂\u200dx", "م\u200d"])
def test_a_joiner_that_joins_nothing_is_shown(text: str) -> None:
    assert "\\u200" in harmless(text)


def test_a_megabyte_is_cut_and_its_length_is_told() -> None:
    shown = harmless("\x1b" * 1_000_000)
    assert len(shown) < 25_000 and "1,000,000" in shown
    assert len(harmless_lines("x\n" * 1_000_000).split("\n")) < 3_000
    assert len(harmless_lines(("\u202e" * 5_000 + "\n") * 2_000)) < 10 * TEXT_CHARACTERS


@given(st.text(st.sampled_from("aä漢 \u0301\u0308\u3164\u2800\u200d\u200cم\u094d🙂\ufe0f\u00a0\u0600\u202e\n"), max_size=30))
def test_the_quick_way_shows_what_the_whole_way_shows(text: str) -> None:
    assert f"{harmless(text)}\\x1b" == harmless(f"{text}\x1b")


def test_no_character_goes_the_quick_way_that_a_crowd_of_it_would_not_go() -> None:
    shown = "".join(filter(str.isprintable, map(chr, range(0x11_0000))))
    marks = [one for one in shown if unicodedata.category(one) in ("Mn", "Me") or one in SHOWING_NOTHING]
    assert len(marks) > 1_000
    assert not [one for one in marks if harmless(one * 20) == one * 20]


@given(TEXTS)
@example(WORST)
def test_json_is_ascii_without_controls_and_holds_the_whole_text(text: str) -> None:
    shown = as_json({"text": text, text: [float("nan"), float("inf"), 1.5]})
    assert shown.isascii() and shown.isprintable()
    assert json.loads(shown) == {"text": text, text: [None, None, 1.5]}


@given(TEXTS)
@example(WORST)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash: apt-get install bash")
def test_a_path_to_paste_is_harmless_and_stays_that_path(text: str) -> None:
    text = text if _is_a_name(text) else encodable(text)
    shown = in_shell(text)
    assert is_harmless(shown) and "\n" not in shown
    said = subprocess.run(["bash", "-c", f"printf %s {shown}"], stdout=subprocess.PIPE, check=True, env={"LC_ALL": "C"}).stdout
    assert said == os.fsencode(text)


def _is_a_name(text: str) -> bool:
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:
        return False


# -- the log ---------------------------------------------------------------------------------------------------------------------


@given(text=TEXTS)
@example(text=WORST)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("style", ["pretty", "json"])
def test_no_text_in_the_log_makes_a_line_or_does_anything(style: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = make_logger("info", style).bind(swarm=text)
    log.warning(text, cause=text, error=ValueError(text), many=[text, {text: text}], path=Path(text), raw=text.encode(errors="replace"))
    log.warning("odd", **{text: 1})
    lines = without_colours(capsys.readouterr().err)
    assert is_harmless(lines)
    assert lines.count("\n") == 2


@pytest.mark.parametrize("style", ["pretty", "json"])
def test_a_traceback_in_the_log_is_harmless(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError(WORST)
    except ValueError as error:
        make_logger("info", style).warning("failed", exc_info=error)
    said = capsys.readouterr().err
    assert is_harmless(without_colours(said)) and "ValueError" in said


HUGE = "é\x1b\n" * 1_000_000
HUGE_VALUES = {
    "a text": HUGE,
    "in a list": [HUGE],
    "in lists": [[[HUGE]], (HUGE,)],
    "in a mapping": {"x": {HUGE: HUGE}},
    "an error": ValueError(HUGE),
    "bytes": HUGE.encode(),
    "errors in a list": [ValueError(HUGE)] * 3,
    "many texts": ["x" * 1_000] * 100_000,
    "many numbers": [1.5] * 1_000_000,
    "many names": {f"n{number}": None for number in range(300_000)},
    "many empty ones": [[] for _ in range(300_000)],
}


@pytest.mark.parametrize("style", ["pretty", "json"])
@pytest.mark.parametrize("where", HUGE_VALUES)
def test_a_line_of_the_log_is_bounded_wherever_a_huge_value_stands(where: str, style: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_logger("info", style).warning("failed", cause=HUGE_VALUES[where], swarm="mine", reason="r" * 1_500)
    said = capsys.readouterr().err
    assert len(said) < MOST_OF_A_LINE and said.count("\n") == 1
    assert "failed" in said and "mine" in said and "r" * 1_500 in said
    assert style == "pretty" or json.loads(said)["event"] == "failed"


@pytest.mark.parametrize("style", ["pretty", "json"])
def test_a_traceback_of_a_huge_error_is_bounded(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise KeyError(HUGE)
        except KeyError as error:
            raise ValueError("é" * 10_000_000) from error
    except ValueError as error:
        make_logger("info", style).warning("failed", exc_info=error)
    said = capsys.readouterr().err
    assert len(said) < MOST_OF_A_LINE
    assert style == "pretty" or json.loads(said)["event"] == "failed"


def test_a_value_that_contains_itself_costs_its_line_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    around: list[object] = []
    around.append(around)
    make_logger("info", "json").warning("failed", cause=around)
    assert "failed" in capsys.readouterr().err
