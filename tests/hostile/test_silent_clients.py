"""Whoever connects to the port for Prometheus and says nothing, or very little, takes from the node a bounded number of descriptors."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from threading import active_count
from typing import Any

import pytest

from learnae.plugins.observers import http_server
from learnae.plugins.observers.http_server import MOST_CLIENTS, serving_http

CROWD = 50
SECONDS = 60.0


def answer(environment: Any, start: Any) -> list[bytes]:
    start("200 OK", [])
    return [b"fine"]


@pytest.fixture
def place() -> Iterator[tuple[str, int]]:
    with serving_http("127.0.0.1:0", answer, "metrics.prometheus") as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        yield host, int(port)


def connected(place: tuple[str, int], stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(place, timeout=SECONDS))


def is_turned_away(client: socket.socket) -> bool:
    client.settimeout(SECONDS)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def fetched(place: tuple[str, int]) -> bytes:
    with urllib.request.urlopen(f"http://{place[0]}:{place[1]}/metrics", timeout=SECONDS) as answer:
        return bytes(answer.read())


def test_silent_clients_take_a_bounded_number_of_descriptors_and_threads(place: tuple[str, int]) -> None:
    threads = active_count()
    with ExitStack() as stack:
        first = [connected(place, stack) for _ in range(MOST_CLIENTS)]
        for client in first:
            client.sendall(b"G")
        more = [connected(place, stack) for _ in range(CROWD)]
        assert all(is_turned_away(client) for client in more)
        held = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        assert held == 0 or held < 100 + MOST_CLIENTS + CROWD  # ours are the other ends
        assert active_count() <= threads + 2 * MOST_CLIENTS  # each has one that watches the time


def test_a_request_by_drops_is_cut_off_and_makes_room_for_others(place: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.2)
    with ExitStack() as stack:
        clients = [connected(place, stack) for _ in range(MOST_CLIENTS)]
        for client in clients:
            client.sendall(b"GET ")
            assert is_turned_away(client)
    assert fetched(place) == b"fine"


def test_no_request_makes_the_node_write_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(environment: Any, start: Any) -> list[bytes]:
        environment["wsgi.errors"].write("a line")
        raise ValueError(environment["HTTP_ACCEPT"])

    with serving_http("127.0.0.1:0", broken, "metrics.prometheus") as url:
        for _ in range(3):
            asked = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text;version=x"})
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(asked, timeout=SECONDS)
    assert capfd.readouterr() == ("", "")
