"""learnae.sensor() and `learnae run` of a sensor, with threads, processes and the embedded announcer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import learnae
from learnae.cli.main import main
from learnae.cli.run_sensor import RefusedLine, called, lines_of
from learnae.errors import ConfigError, LearnaeError
from learnae.plugins.directory.bulletin import Reader, channel_folder
from tests.support.sensors import run_sensor

COLUMNS = {"temperature": "float32", "station": "text"}
READING = {"temperature": 21.5, "station": "roof"}
ALL_SENT_SECONDS = 60.0  # no machine is so busy


@pytest.fixture
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "board"


def settings(meeting: Path, **tables: Any) -> dict[str, Any]:
    return {"announcer": {"use": "directory", "path": str(meeting)}, **tables}


def messages_on(meeting: Path) -> int:
    channels = [folder for folder in meeting.iterdir() if folder.is_dir()]
    return sum(len(Reader([folder], 4096).look()) for folder in channels)


def test_a_script_sends_readings_with_three_lines(meeting: Path, tmp_path: Path) -> None:
    with learnae.sensor("weather", config=settings(meeting), columns=COLUMNS, licence="CC0-1.0", home=tmp_path / "home") as sensor:
        numbers = [sensor.send(READING) for _ in range(5)]
        sensor.close(ALL_SENT_SECONDS)
    assert numbers == [0, 1, 2, 3, 4] and sensor.sent == 5 and not sensor.waiting
    assert messages_on(meeting) >= 1
    assert channel_folder(meeting, "x").parent == meeting


def test_a_reading_that_does_not_fit_is_the_callers_mistake_and_ends_nothing(meeting: Path, tmp_path: Path) -> None:
    with learnae.sensor("weather", config=settings(meeting), columns=COLUMNS, licence="CC0-1.0", home=tmp_path / "home") as sensor:
        with pytest.raises(ValueError, match="temperature"):
            sensor.send(READING | {"temperature": "hot"})
        assert sensor.send(READING) == 0


def test_what_cannot_be_sent_is_sent_by_the_next_run(meeting: Path, tmp_path: Path) -> None:
    meeting.write_text("no folder")
    home = tmp_path / "home"
    with learnae.sensor("weather", config=settings(meeting), columns=COLUMNS, licence="CC0-1.0", home=home) as sensor:
        sensor.send(READING)
        sensor.close(0.1)
        assert sensor.waiting == 1
    meeting.unlink()
    with learnae.sensor("weather", config=settings(meeting), columns=COLUMNS, licence="CC0-1.0", home=home) as sensor:
        assert sensor.send(READING) == 1
        sensor.close(ALL_SENT_SECONDS)
    assert sensor.sent == 2


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"columns": COLUMNS}, "data.licence"),
        ({"licence": "CC0-1.0"}, "sensor.columns"),
        ({"columns": COLUMNS, "licence": "CC0-1.0", "overrides": ["peer.role=trainer"]}, "sensor"),
        ({"columns": COLUMNS, "licence": "CC0-1.0", "overrides": ["swarm.weights_only=true"]}, "peer.role"),
    ],
)
def test_what_is_missing_or_wrong_is_named(meeting: Path, tmp_path: Path, given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        learnae.sensor("weather", config=settings(meeting), home=tmp_path / "home", **given)
    assert key in {problem.key.removeprefix("--set ").partition("=")[0] for problem in caught.value.problems}


def test_without_a_name_and_a_file_it_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"learnae\.sensor\("):
        learnae.sensor(columns=COLUMNS, licence="CC0-1.0")


def test_a_sensor_takes_neither_numpy_nor_torch(meeting: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    code = f"""
import sys, learnae
with learnae.sensor("weather", config={settings(meeting)!r}, columns={COLUMNS!r}, licence="CC0-1.0", home={home!r}) as sensor:
    sensor.send({READING!r})
    sensor.close({ALL_SENT_SECONDS})
assert sensor.sent == 1
sys.exit("numpy" in sys.modules or "torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=2 * ALL_SENT_SECONDS).returncode == 0


def test_lines_are_json_or_a_table_with_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    text = '{"temperature": 1}\n\nstation, temperature\nroof, 21.5\nbroken\n{"temperature": \n"a, b",c\n'
    first, second, broken, cut, last = lines_of(StringIO(text), COLUMNS)
    assert (first, second, last) == (
        {"temperature": 1},
        {"temperature": "21.5", "station": "roof"},
        {"temperature": "c", "station": "a, b"},
    )
    assert [(one.number, one.text) for one in (broken, cut)] == [(5, "broken"), (6, '{"temperature":')]
    assert "line 3" in capsys.readouterr().err


@pytest.mark.parametrize("noise", ["starting up ...", "temp,station", "temperature", "21.5,roof"])
def test_a_line_that_does_not_name_the_columns_is_no_header(noise: str) -> None:
    refused, reading = lines_of(StringIO(f'{noise}\n{{"temperature": 1, "station": "roof"}}\n'), COLUMNS)
    assert isinstance(refused, RefusedLine)
    assert (refused.number, refused.text) == (1, noise)
    assert "station, temperature" in refused.why
    assert reading == {"temperature": 1, "station": "roof"}
    refused, reading = lines_of(StringIO(f"{noise}\ntemperature,station\n21.5,roof\n"), COLUMNS)
    assert reading == {"temperature": "21.5", "station": "roof"}


def test_a_generator_gives_at_its_own_pace_and_a_function_each_time_that_it_is_due() -> None:
    def generator() -> Iterator[int]:
        yield from (1, 2)

    assert list(called(generator, "a:b", 60.0)) == [1, 2]
    given = iter([[1, 2], None, 3])
    readings = called(lambda: next(given), "a:b", 0.0)
    assert [next(readings) for _ in range(4)] == [1, 2, None, 3]


def test_learnae_run_sends_what_comes_on_standard_input_and_says_what_it_left_out(meeting: Path, tmp_path: Path) -> None:
    (tmp_path / "sensor.toml").write_text(
        f'[swarm]\nname = "weather"\n[peer]\nrole = "sensor"\nhome = "home"\n[data]\nlicence = "CC0-1.0"\n[sensor.columns]\n'
        f'temperature = "float32"\nstation = "text"\n[[announcer]]\nuse = "directory"\npath = "{meeting}"\n'
    )
    lines = "calibrating\ntemperature,station\n21.5,roof\nwarm,roof\n22.5,roof\n"
    sent, first = run_sensor(tmp_path, lines)
    assert json.loads(first.stdout.splitlines()[-1])["wrong"] == 2 and "temperature" in first.stderr
    assert "line 1, 'calibrating'" in first.stderr
    assert sent == 2
    assert messages_on(meeting) >= 1


def test_learnae_status_shows_a_sensor_and_what_waits(meeting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = {"announcer": {"use": "directory", "path": str(tmp_path / "nowhere" / "to" / "be")}}
    (tmp_path / "nowhere").write_text("no folder")
    home = tmp_path / "home"
    with suppress(LearnaeError), learnae.sensor("weather", config=away, columns=COLUMNS, licence="CC0-1.0", home=home) as sensor:
        peer = sensor.peer
        sensor.send(READING)
        sensor.send(READING)
    assert main(["status", str(home), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["role"], found["swarm"], found["waiting"], found["peer"], found["running"]) == ("sensor", "weather", 2, peer, False)
    assert main(["status", str(home)]) == 0
    shown = capsys.readouterr().out
    assert "2 readings" in shown and "temperature float32" in shown
    assert main(["why", str(home)]) == 2
    assert "sensor" in capsys.readouterr().err


def test_homes_of_sensors_stand_in_the_list_of_all(meeting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        config = {"announcer": {"use": "directory", "path": str(meeting)}}
        with learnae.sensor("weather", config=config, columns=COLUMNS, licence="CC0-1.0", home=tmp_path / "all" / name) as sensor:
            sensor.send(READING)
    assert main(["status", str(tmp_path / "all"), "--json"]) == 0
    homes = json.loads(capsys.readouterr().out)["homes"]
    assert [(one["role"], one["swarm"], one["error"]) for one in homes] == [("sensor", "weather", None)] * 2
    assert main(["status", str(tmp_path / "all")]) == 0
    assert capsys.readouterr().out.count("a sensor") == 2
