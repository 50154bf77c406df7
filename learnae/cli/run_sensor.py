"""`learnae run` for a peer with the role "sensor": its readings come from a function, from a generator, or from lines on standard input."""

from __future__ import annotations

import csv
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
            return lines_of(sys.stdin)
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


def lines_of(stream: TextIO) -> Iterator[Any]:
    """JSON objects, or CSV whose first line names the columns. A line that is neither is given as it is, and is no reading."""
    header: list[str] | None = None
    while line := stream.readline(MOST_LINE_CHARACTERS):
        text = line.strip()
        if not text:
            continue
        if text.startswith("{"):
            yield _object(text)
        elif header is None:
            header = [name.strip() for name in next(csv.reader([text]))]
        else:
            cells = next(csv.reader([text]))
            yield dict(zip(header, (cell.strip() for cell in cells), strict=True)) if len(cells) == len(header) else text


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


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
                sensor.send(reading)
            except ValueError as error:
                wrong += 1
                if wrong <= MOST_TOLD or wrong == 10 ** (len(str(wrong)) - 1):
                    print_message(f"left out reading {wrong:,} that does not fit: {harmless(str(error))}")
        if (now := time.monotonic()) - shown >= SHOWN_SECONDS:
            shown = now
            _show(sensor, wrong, as_json=run.as_json)
    _show(sensor, wrong, as_json=run.as_json)


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
