"""A wire to what may be no daemon: it has an end, whatever comes, and can be cut off at each moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnae.http import FAILURES, BadResponseError, Endpoint, HttpClient, ResponseTooLongError

SILENCE = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Serve = Callable[[socket.socket], None]


def requested(line: socket.socket) -> bytes:
    """All of one request whose body is empty or ends with `}`."""
    data = b""
    while not data.endswith((b"\r\n\r\n", b"}")):
        piece = line.recv(1 << 16)
        if not piece:
            return data
        data += piece
    return data


@contextlib.contextmanager
def serving(serve: Serve, server: socket.socket | None = None) -> Iterator[Endpoint]:
    """Each connection is given to `serve`, and closed behind it."""

    def each(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            serve(line)

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=each, args=(server.accept()[0],), daemon=True).start()

    server = server or socket.create_server(("127.0.0.1", 0))
    with server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            name = server.getsockname()
            yield Endpoint(path=name) if isinstance(name, str) else Endpoint(host="127.0.0.1", port=name[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def asked(wire: HttpClient, body: bytes = b"", *, most: int = 1000, seconds: float = SILENCE) -> tuple[int, bytes]:
    with wire.post("/call?a=b", body, {"X-Mine": "1"}, most_bytes=most, answer_seconds=seconds) as answer:
        return answer.status, b"".join(answer.pieces)


@pytest.fixture
def wire_to() -> Iterator[Callable[..., HttpClient]]:
    made: list[HttpClient] = []

    def make(place: Endpoint, silence_seconds: float = SILENCE) -> HttpClient:
        made.append(HttpClient(place, silence_seconds))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


def test_one_connection_serves_call_after_call(wire_to: Callable[..., HttpClient]) -> None:
    heard: list[bytes] = []
    lines: list[int] = []

    def serve(line: socket.socket) -> None:
        lines.append(1)
        while request := requested(line):
            heard.append(request)
            line.sendall(OK)

    with serving(serve) as place:
        wire = wire_to(place)
        assert [asked(wire), asked(wire, b"{}"), asked(wire)] == [(200, b"hi")] * 3
        wire.close()
    assert len(lines) == 1
    assert heard[0].startswith(b"POST /call?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Mine: 1\r\n" in heard[0]
    assert heard[1].endswith(b"\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"x", b"\r\n"])
def test_what_comes_behind_an_answer_answers_no_other_call(more: bytes, wire_to: Callable[..., HttpClient]) -> None:
    def serve(line: socket.socket) -> None:
        while requested(line):
            line.sendall(OK + more)

    with serving(serve) as place:
        wire = wire_to(place)
        assert [asked(wire) for _ in range(3)] == [(200, b"hi")] * 3


def test_a_connection_that_was_closed_while_idle_is_made_anew(wire_to: Callable[..., HttpClient]) -> None:
    def serve(line: socket.socket) -> None:
        requested(line)
        line.sendall(OK)

    with serving(serve) as place:
        wire = wire_to(place)
        assert [asked(wire) for _ in range(3)] == [(200, b"hi")] * 3


def test_a_daemon_at_a_unix_socket_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire_to: Callable[..., HttpClient]) -> None:
    monkeypatch.chdir(tmp_path)
    server = socket.socket(socket.AF_UNIX)
    server.bind("daemon")
    server.listen()

    def serve(line: socket.socket) -> None:
        assert b"\r\nHost: localhost\r\n" in requested(line)
        line.sendall(OK)

    with serving(serve, server) as place:
        assert asked(wire_to(place)) == (200, b"hi")


def test_a_body_is_sent_while_it_is_made_and_what_fails_in_making_it_comes_out(wire_to: Callable[..., HttpClient]) -> None:
    def pieces(fails: bool) -> Iterator[bytes]:
        yield b"one"
        yield b""
        if fails:
            raise LookupError("gone")
        yield b"two}"

    def serve(line: socket.socket) -> None:
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            piece = line.recv(1 << 16)
            if not piece:
                return
            data += piece
        assert data.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\ntwo}\r\n0\r\n\r\n")
        line.sendall(OK)

    with serving(serve) as place:
        wire = wire_to(place)
        with pytest.raises(LookupError), wire.post("/", pieces(True), {}, most_bytes=10, answer_seconds=SILENCE):
            pass
        with wire.post("/", pieces(False), {}, most_bytes=10, answer_seconds=SILENCE) as answer:
            assert b"".join(answer.pieces) == b"hi"


def test_a_refusal_in_the_middle_of_a_body_is_heard(wire_to: Callable[..., HttpClient]) -> None:
    def serve(line: socket.socket) -> None:
        line.recv(10)
        line.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        line.shutdown(socket.SHUT_WR)
        while line.recv(1 << 16):
            pass

    with serving(serve) as place, wire_to(place).post("/", (b"x" * 1000 for _ in range(9)), {}, most_bytes=9, answer_seconds=9.0) as answer:
        assert (answer.status, b"".join(answer.pieces)) == (403, b"no")


MOMENTS = {
    "before the answer": b"",
    "in the status": b"HTTP/1.1",
    "in the head": b"HTTP/1.1 200 OK\r\nA: b\r\n",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nh",
    "without a length": b"HTTP/1.1 200 OK\r\n\r\nh",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_can_be_cut_off_at_each_moment(moment: str, wire_to: Callable[..., HttpClient]) -> None:
    said, failed = threading.Event(), list[Exception]()

    def serve(line: socket.socket) -> None:
        requested(line)
        line.sendall(MOMENTS[moment])
        said.set()
        line.recv(1)

    def ask(wire: HttpClient) -> None:
        try:
            asked(wire, seconds=1e6)
        except FAILURES as error:
            failed.append(error)

    with serving(serve) as place:
        wire = wire_to(place, 1e6)
        thread = threading.Thread(target=ask, args=(wire,))
        thread.start()
        said.wait(SILENCE)
        wire.hang_up()
        thread.join(SILENCE)
        assert not thread.is_alive()
        with pytest.raises(FAILURES):
            asked(wire)
    assert failed or moment == "without a length"  # where the end is an end


def test_calls_within_calls_are_all_cut_off(wire_to: Callable[..., HttpClient]) -> None:
    """Each has a connection of its own, and none is forgotten."""

    def serve(line: socket.socket) -> None:
        requested(line)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        line.recv(1)

    with serving(serve) as place:
        wire = wire_to(place, 1e6)
        with contextlib.ExitStack() as stack:
            answers = [stack.enter_context(wire.post("/", b"", {}, most_bytes=9, answer_seconds=1e6)) for _ in range(3)]
            wire.hang_up()
            for answer in answers:
                with pytest.raises(FAILURES):
                    list(answer.pieces)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["a status", "a head", "a body", "chunks"],
)
def test_drops_that_come_without_end_are_waited_for_no_longer_than_an_answer_may_take(
    head: bytes, wire_to: Callable[..., HttpClient]
) -> None:
    never = threading.Event()
    drop = b"1\r\na\r\n" if head.endswith(b"chunked\r\n\r\n") else b"H"

    def serve(line: socket.socket) -> None:
        requested(line)
        line.sendall(head)
        while not never.wait(0.01):
            line.sendall(drop)

    with serving(serve) as place, pytest.raises((TimeoutError, BadResponseError)):
        asked(wire_to(place, 0.5), seconds=0.5)


def test_what_is_silent_is_given_up(wire_to: Callable[..., HttpClient]) -> None:
    with serving(lambda line: line.recv(1 << 16) and line.recv(1)) as place, pytest.raises(TimeoutError):
        asked(wire_to(place, 0.2))


@pytest.mark.parametrize(
    "head", [b"Content-Length: 99999999", b"Transfer-Encoding: chunked\r\n\r\n5f5e0ff", b"Transfer-Encoding: chunked\r\n\r\n-1", b"A: b"]
)
def test_no_more_is_taken_than_was_asked_for(head: bytes, wire_to: Callable[..., HttpClient]) -> None:
    sent = 0

    def serve(line: socket.socket) -> None:
        nonlocal sent
        requested(line)
        line.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        while sent < 300 << 20:
            sent += line.send(b"x" * (1 << 16))

    with serving(serve) as place, pytest.raises((ResponseTooLongError, BadResponseError)):
        asked(wire_to(place), most=1 << 19)
    assert sent < 32 << 20


def test_neither_proxies_nor_redirections_nor_passwords_of_the_environment_count(
    wire_to: Callable[..., HttpClient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    heard: list[bytes] = []

    def serve(line: socket.socket) -> None:
        heard.append(requested(line))
        line.sendall(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    with serving(lambda line: line.sendall(OK)) as proxy, serving(serve) as place:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        wire = wire_to(place)
        for _ in range(2):
            with pytest.raises(BadResponseError, match="elsewhere"):
                asked(wire)
    assert len(heard) == 2
    assert not any(word in request for request in heard for word in (b"Cookie", b"Authorization", b"/elsewhere"))


@pytest.mark.parametrize("target", ["", "x", "/a b", "/a\r\nX: y", "/ä", "http://a/"])
def test_no_request_is_made_of_what_is_no_target(target: str, wire_to: Callable[..., HttpClient]) -> None:
    with (
        pytest.raises(ValueError, match="no HTTP"),
        wire_to(Endpoint(host="127.0.0.1", port=1)).post(target, b"", {}, most_bytes=1, answer_seconds=1.0),
    ):
        pass
