"""`learnae run` for a peer with the role "sensor": its readings come from a function, from a generator, or from lines on standard input."""

from __future__ import annotations

import csv
import inspect
import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import attrs

from learnae.config.tables import Config
from learnae.outlets import print_json, print_message, print_result
from learnae.plugins.calls import theirs
from learnae.sensing.device import Sensor
from learnae.texts import harmless

if TYPE_CHECKING:
    from learnae.plugins.manager import PluginManager

SHOWN_SECONDS = 10.0
FULL_SECONDS = 0.1  # between two looks whether there is room again
MOST_LINE_CHARACTERS = 65_536
MOST_TOLD = 10  # wrong readings, one by one
SHOWN_CHARACTERS = 60


class Interruptible(Protocol):
    """As `learnae.cli.run.Interrupt`: a signal that comes meanwhile ends what runs within it."""

    def at_once(self) -> AbstractContextManager[None]: ...

    def between(self, batches: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Any]]: ...


@attrs.frozen(kw_only=True)
class SensorRun:
    """The command line, and the function that the file names; without it readings are lines on standard input."""

    function: Callable[[], Any] | None = None
    seconds: float | None = None
    as_json: bool = False
    log: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def waits(self) -> bool:
        """Whether its source can wait while there is no room for more."""
        return self.function is None or inspect.isgeneratorfunction(self.function)

    def readings(self, config: Config) -> Iterator[Any]:
        """None stands for a moment without one."""
        if self.function is None:
            return lines_of(sys.stdin, config.sensor.columns)
        return called(self.function, str(config.sensor.entry), config.sensor.seconds)


def run_sensor(config: Config, manager: PluginManager, run: SensorRun, interrupt: Interruptible) -> None:
    """Send readings until there are no more, or until the wished end. Raises KeyboardInterrupt when interrupted, with the sensor ended."""
    with Sensor(config, manager, log=run.log) as sensor:
        print_message(f"sensor {sensor.peer} of the swarm {config.swarm.name}; its home is {sensor.home}")
        try:
            _feed(sensor, interrupt.between(lambda: run.readings(config))(), run, interrupt)
        finally:
            sensor.close()
            left = f"; {sensor.waiting:,} wait for the next run" if sensor.waiting else ""
            print_message(f"{sensor.sent:,} readings sent, {sensor.lost:,} lost{left}")


def called(function: Callable[[], Any], entry: str, seconds: float) -> Iterator[Any]:
    """A generator's readings at its own pace; those of any other function every so many seconds: one reading, a list of them, or None."""
    with theirs(entry, "giving a reading"):
        given = function()
    if isinstance(given, Iterator):
        while True:
            with theirs(entry, "giving a reading"):
                reading = next(given, _END)
            if reading is _END:
                return
            yield reading
    due = time.monotonic()
    while True:
        yield from given if isinstance(given, list | tuple) else [given]
        due = max(due + seconds, time.monotonic())
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        with theirs(entry, "giving a reading"):
            given = function()


_END = object()


@attrs.frozen
class RefusedLine:
    """A line that is no reading, by its number from 1 on, and why."""

    number: int
    text: str
    why: str


def lines_of(stream: TextIO, columns: Collection[str]) -> Iterator[Any]:
    """JSON objects, or CSV behind a line that names these columns in any order. What is neither is given as a `RefusedLine`."""
    header: list[str] | None = None
    number = 0
    while line := stream.readline(MOST_LINE_CHARACTERS):
        number += 1
        text = line.strip()
        if not text:
            continue
        if text.startswith("{"):
            yield _object(text, number)
            continue
        cells = [cell.strip() for cell in next(csv.reader([text]))]
        if sorted(cells) == sorted(columns):
            header = cells
            print_message(f"line {number:,} names the columns: {harmless(', '.join(header))}")
        elif header is None:
            wanted = ", ".join(sorted(columns))
            yield RefusedLine(number, text, f"no JSON object, and no header of a table has come yet: that is a line with {wanted}")
        elif len(cells) != len(header):
            yield RefusedLine(number, text, f"it has {len(cells)} cells, and the header has {len(header)}")
        else:
            yield dict(zip(header, cells, strict=True))


def _object(text: str, number: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return RefusedLine(number, text, f"it begins as a JSON object, and is none: {error}")


def _feed(sensor: Sensor, readings: Iterator[Any], run: SensorRun, interrupt: Interruptible) -> None:
    """A reading that does not fit is told and left out: one glitch ends no sensor."""
    end = None if run.seconds is None else time.monotonic() + run.seconds
    wrong, shown = 0, 0.0
    for reading in _until(end, readings):
        while run.waits and sensor.is_full:
            with interrupt.at_once():
                time.sleep(FULL_SECONDS)
            if end is not None and time.monotonic() >= end:
                return
        if reading is not None:
            try:
                _send(sensor, reading)
            except ValueError as error:
                wrong += 1
                if wrong <= MOST_TOLD or wrong == 10 ** (len(str(wrong)) - 1):
                    print_message(harmless(f"left out, {wrong:,} so far: {error}"))
        if (now := time.monotonic()) - shown >= SHOWN_SECONDS:
            shown = now
            _show(sensor, wrong, as_json=run.as_json)
    _show(sensor, wrong, as_json=run.as_json)


def _send(sensor: Sensor, reading: Any) -> None:
    """Raises ValueError for what is no reading of this sensor."""
    if isinstance(reading, RefusedLine):
        raise ValueError(f"line {reading.number:,}, {reading.text[:SHOWN_CHARACTERS]!r}: {reading.why}")
    sensor.send(reading)


def _until(end: float | None, readings: Iterable[Any]) -> Iterator[Any]:
    for reading in readings:
        yield reading
        if end is not None and time.monotonic() >= end:
            return


def _show(sensor: Sensor, wrong: int, *, as_json: bool) -> None:
    facts: Mapping[str, int] = {"sent": sensor.sent, "waiting": sensor.waiting, "lost": sensor.lost, "wrong": wrong}
    if as_json:
        print_json(facts)
    else:
        print_result(", ".join(f"{name} {count:,}" for name, count in facts.items()))
