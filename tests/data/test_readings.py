"""Readings as a sample carries them: what fits, what does not, and what no honest sensor writes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.data.readings import PAYLOAD_BYTES, ReadingFormat, SampleContent, declared, open_sample
from learnae.data.schema import schema_of
from learnae.errors import ConfigError, UpdateRejectedError
from learnae.identity.envelopes import SAMPLE_BYTES

WEATHER = {"temperature": "float32", "humidity": "uint8", "station": "text", "wind": "float32[2]", "rain": "bool"}
READING = {"temperature": 21.5, "humidity": 40, "station": "JFK", "wind": [1.0, -2.0], "rain": False}


def weather(licence: str = "CC0-1.0", source: str = "") -> ReadingFormat:
    return ReadingFormat(declared(WEATHER, "rain"), licence, source)


def test_a_declared_schema_is_that_of_rows_with_these_columns() -> None:
    import numpy as np

    rows: Any = {
        "temperature": np.zeros(1, np.float32),
        "humidity": np.zeros(1, np.uint8),
        "station": np.zeros(1, np.int32),
        "wind": np.zeros((1, 2), np.float32),
        "rain": np.zeros(1, bool),
    }
    assert declared(WEATHER, "rain").digest == schema_of(rows, "rain", {"station": ["JFK"]}).digest


def test_what_was_packed_comes_out_again() -> None:
    sender = weather("CC0-1.0", "roof")
    packed = [sender.pack(READING | {"humidity": n, "station": "JFK" if n % 2 else "LGA"}) for n in range(5)]
    opened = open_sample(sender.payload(70, packed))
    assert (opened.first, opened.count, opened.licence, opened.source) == (70, 5, "CC0-1.0", "roof")
    assert opened.schema == sender.schema.digest and opened.words == ("LGA", "JFK")
    assert [opened.reading(number)[0] for number in range(70, 75)] == [0, 1, 2, 3, 4]  # humidity comes first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 1e40}, "temperature"),
        ({"humidity": 300}, "humidity"),
        ({"humidity": 1.5}, "humidity"),
        ({"wind": [1.0]}, "wind"),
        ({"rain": 2}, "rain"),
        ({"station": 7}, "station"),
        ({"station": "x" * 65}, "station"),
        ({"pressure": 1.0}, "pressure"),
    ],
)
def test_a_reading_that_does_not_fit_is_an_error_that_names_the_column(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        weather().pack(READING | change)


def test_a_reading_without_a_column_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="humidity"):
        weather().pack({"temperature": 1.0, "station": "JFK", "wind": [0, 0], "rain": 0})


def test_a_csv_gives_texts_and_they_are_numbers() -> None:
    texts = {"temperature": "21.5", "humidity": "40", "station": "JFK", "wind": "1 -2", "rain": "false"}
    assert weather().pack(texts) == weather().pack(READING)


def test_columns_that_do_not_fit_into_a_message_are_refused_with_the_room_that_there_is() -> None:
    with pytest.raises(ConfigError, match=r"has 1,200 bytes, and a message has room for \d{3}"):
        ReadingFormat(declared({"x": "float32[300]"}), "CC0-1.0")


@pytest.mark.parametrize("kind", ["float33", "float32[", "text[2]", "", "float32[0]", "bfloat16"])
def test_a_kind_of_column_that_there_is_not_is_a_problem(kind: str) -> None:
    with pytest.raises(ConfigError, match="column"):
        declared({"x": kind})


def test_the_bound_of_a_payload_is_that_of_the_envelope() -> None:
    assert PAYLOAD_BYTES == SAMPLE_BYTES


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=64), min_size=1, max_size=80), st.integers(0, 1 << 62))
def test_as_many_readings_as_fit_go_into_a_message_and_no_more(stations: list[str], first: int) -> None:
    sender = weather()
    waiting = [sender.pack(READING | {"station": station}) for station in stations]
    fitting = sender.fitting(first, waiting)
    assert len(sender.payload(first, waiting[:fitting])) <= PAYLOAD_BYTES
    assert fitting == len(waiting) or len(sender.payload(first, waiting[: fitting + 1])) > PAYLOAD_BYTES


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(UpdateRejectedError):
        open_sample(noise)


@pytest.mark.parametrize(
    "change",
    [{0: 2}, {1: b"short"}, {2: -1}, {2: 1 << 63}, {3: 0}, {3: 7}, {4: b""}, {5: ["\x1b[2J"]}, {5: "JFK"}, {6: "x" * 65}, {7: 3}],
)
def test_a_sample_that_no_sensor_makes_is_refused(change: dict[int, Any]) -> None:
    sender = weather()
    good = cbor2.loads(sender.payload(1, [sender.pack(READING)] * 2))
    assert isinstance(open_sample(cbor2.dumps(good, canonical=True)), SampleContent)
    with pytest.raises(UpdateRejectedError):
        open_sample(cbor2.dumps(good | change, canonical=True))


def test_packing_needs_neither_numpy_nor_torch() -> None:
    code = "import sys, learnae.data.readings, learnae.identity.envelopes; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
