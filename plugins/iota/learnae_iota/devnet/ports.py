"""The loopback ports of one node."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import attrs

from learnae.errors import ConfigError, Problem

LOOPBACK = "127.0.0.1"


@attrs.frozen
class Ports:
    """Where a node serves its API, its peers, and its feed of new transactions (ZMQ)."""

    api: int
    gossip: int
    feed: int

    def check_free(self) -> None:
        """Raise ConfigError if somebody listens already: Hornet itself would only log it and go on."""
        for port in attrs.astuple(self):
            with socket.socket() as candidate:
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    candidate.bind((LOOPBACK, port))
                except OSError as error:
                    message = f"{LOOPBACK}:{port} cannot be used: {error.strerror}"
                    raise ConfigError(Problem("port", message, "end what listens there, or choose another with --port")) from error


def free_ports(count: int) -> list[Ports]:
    """Ports that nobody uses now, for so many nodes."""
    with ExitStack() as held:
        numbers = []
        for _ in range(3 * count):
            taken = held.enter_context(socket.socket())
            taken.bind((LOOPBACK, 0))
            numbers.append(taken.getsockname()[1])
    return [Ports(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]
