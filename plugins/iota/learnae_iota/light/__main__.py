"""`python -m learnae_iota.light`: each line of the standard input becomes a sample."""

from __future__ import annotations

import argparse
import os
import sys

from learnae import ConfigError, Problem, UnavailableError
from learnae.lowlevel import SAMPLE_BYTES, print_message
from learnae_iota.light.sensor import Sensor

EXIT_CONFIG = 2


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
    with Sensor(options.swarm, options.node, options.home, key=key, weight_magnitude=options.mwm, node_works=options.node_works) as sensor:
        _tell(f"this sensor is {sensor.peer}")
        for line in sys.stdin.buffer:
            _announce(sensor, line.rstrip(b"\r\n"))


def _key(variable: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise ConfigError(Problem(variable, "is not set", "set this variable to the key of the swarm")) from None


def _announce(sensor: Sensor, payload: bytes) -> None:
    if len(payload) > SAMPLE_BYTES:
        _tell(f"left out: a line of {len(payload)} bytes; at most {SAMPLE_BYTES} fit")
        return
    try:
        number = sensor.announce(payload)
    except UnavailableError as error:
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
    parser.add_argument("--node-works", action="store_true", help="let the node do the proof of work")
    return parser.parse_args()


def _tell(text: str) -> None:
    print_message(*text.split("\n"))


if __name__ == "__main__":
    sys.exit(main())
