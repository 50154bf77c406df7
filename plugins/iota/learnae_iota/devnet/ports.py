"""The loopback ports of one node."""

from __future__ import annotations

import secrets
import socket

import attrs

from learnae import ConfigError, Problem

LOOPBACK = "127.0.0.1"
FREE = range(10_000, 32_000)  # below the ports that systems give to outgoing connections, which could take one while its node is away


@attrs.frozen
class Ports:
    """Where a node serves its API, its peers, and its feed of new transactions (ZMQ)."""

    api: int
    gossip: int
    feed: int

    def check_free(self) -> None:
        """Raise ConfigError if somebody listens already: Hornet itself would only log it and go on."""
        for port in attrs.astuple(self):
            if hindrance := _hindrance(port):
                message = f"{LOOPBACK}:{port} cannot be used: {hindrance}"
                raise ConfigError(Problem("port", message, "end what listens there, or choose another with --port"))


def free_ports(count: int) -> list[Ports]:
    """Ports that nobody uses now, for so many nodes; drawn, so that two who ask at once get different ones."""
    numbers: list[int] = []
    while len(numbers) < 3 * count:
        candidate = secrets.choice(FREE)
        if candidate not in numbers and not _hindrance(candidate):
            numbers.append(candidate)
    return [Ports(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]


def _hindrance(port: int) -> str | None:
    """Why nobody can listen there, if so."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError as error:
            return error.strerror or str(error)
    return None
