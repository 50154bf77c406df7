"""`python -m learnae_iota.light`: each line of the standard input becomes a sample; with columns, each JSON object a reading."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial

from learnae import ConfigError, Problem, UnavailableError
from learnae.lowlevel import SAMPLE_BYTES, print_message
from learnae_iota.light.sensor import Sensor

EXIT_CONFIG = 2
SHOWN_BYTES = 60


def main() -> int:
    try:
        _run(_parsed())
    except ConfigError as error:
        _tell(str(error))
        return EXIT_CONFIG
    return 0


def _run(options: argparse.Namespace) -> None:
    """A reading that no node takes is told and left out: the next one is newer. Raises ConfigError, also once the disk is full."""
    key = _key(options.key_env) if options.key_env else None
    work = {"weight_magnitude": options.mwm, "node_works": options.node_works}
    columns = _columns(options.column) if options.column else None
    form = {"columns": columns, "licence": options.licence, "source": options.source}
    with Sensor(options.swarm, options.node, options.home, key=key, **work, **form) as sensor:
        _tell(f"this sensor is {sensor.peer}")
        for line in sys.stdin.buffer:
            text = line.rstrip(b"\r\n")
            _say(partial(_announce, sensor, text) if columns is None else partial(_send, sensor, text))


def _key(variable: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise ConfigError(Problem(variable, "is not set", "set this variable to the key of the swarm")) from None


def _columns(pairs: list[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if not all(pair.partition("="))]:
        raise ConfigError(Problem("--column", f"is no NAME=KIND: {wrong[0]}", "write --column temperature=float32"))
    return {name: kind for name, _, kind in (pair.partition("=") for pair in pairs)}


def _announce(sensor: Sensor, payload: bytes) -> int:
    if len(payload) > SAMPLE_BYTES:
        raise ValueError(f"a line of {len(payload)} bytes; at most {SAMPLE_BYTES} fit")
    return sensor.announce(payload)


def _send(sensor: Sensor, line: bytes) -> int:
    try:
        reading = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"a line that is no JSON object: {line[:SHOWN_BYTES]!r}") from None
    return sensor.send(reading)


def _say(send: Callable[[], int]) -> None:
    """The number of what was sent, or why it was left out."""
    try:
        number = send()
    except (UnavailableError, ValueError) as error:
        _tell(f"left out: {error}")
    else:
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m learnae_iota.light", description="Announce each line of the standard input as a sample.")
    parser.add_argument("--swarm", required=True, help="the name of the swarm")
    parser.add_argument("--node", action="append", required=True, help="the HTTP API of a node; may be given several times")
    parser.add_argument("--home", required=True, help="the sensor's folder: its key and numbers")
    parser.add_argument("--key-env", help="the environment variable that holds the key of a private swarm")
    parser.add_argument("--mwm", type=int, default=1, help="zero trits that a hash must end with: `mwm` of the tangle")
    parser.add_argument("--column", action="append", help="NAME=KIND, such as temperature=float32; then each line is a JSON object")
    parser.add_argument("--licence", default="", help='of readings with columns, such as "CC0-1.0"')
    parser.add_argument("--source", default="", help="where these readings come from, in words")
    parser.add_argument("--node-works", action="store_true", help="let the node do the proof of work")
    return parser.parse_args()


def _tell(text: str) -> None:
    print_message(*text.split("\n"))


if __name__ == "__main__":
    sys.exit(main())
