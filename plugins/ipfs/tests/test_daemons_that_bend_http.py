"""What answers like a daemon, sends elsewhere, or bends HTTP: the storage says so, at once, and can be cut off."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import trio

from learnae import UnavailableError
from learnae.lowlevel import raw_cid
from learnae.testing.published import fetched
from learnae_ipfs.line import KuboRefusedError
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

if TYPE_CHECKING:
    from learnae import Context

    Contexts = Callable[[str], Context]

LIMIT = 60.0
CID = raw_cid(b"not there")
OK = b"HTTP/1.1 200 OK\r\n"
WRONG = {
    "a negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + b"x" * 100_000,
    "two lengths": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a compressed answer": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/0.9": b"{}",
    "an answer put off": b"HTTP/1.1 102 Processing\r\n\r\n" * 1000,
    "headers without end": OK + b"a: b\r\n" * 100_000,
}


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[int]]]:
    """The address of what gives each caller this answer, whatever it is asked, and a count of those who came."""
    came: list[int] = []

    def each(caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):
            while b"\r\n\r\n" not in caller.recv(1 << 16):
                pass
            answer(caller)

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                caller, _ = server.accept()
                came.append(1)
                threading.Thread(target=each, args=(caller,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}", came
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def port(address: str) -> str:
    return address.rpartition("/")[2]


def store_at(address: str, contexts: Contexts, silence_seconds: float = 30.0) -> IpfsStorage:
    return IpfsStorage(IpfsStorageOptions(address=address, search_seconds=0.2, silence_seconds=silence_seconds), contexts("a"))


async def use(store: IpfsStorage, asked: str) -> None:
    with trio.fail_after(LIMIT):
        try:
            await (fetched(store, [CID]) if asked == "block" else store.roots())
        finally:
            store._daemon.close()


@pytest.mark.parametrize("asked", ["block", "roots"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_daemon_sends_us_elsewhere(status: int, asked: str, learnae_contexts: Contexts) -> None:
    with answering(lambda caller: caller.sendall(OK + b"Content-Length: 0\r\n\r\n")) as (other, came):
        head = f"HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{port(other)}/api/v0/shutdown\r\nContent-Length: 0\r\n\r\n".encode()
        with answering(lambda caller: caller.sendall(head)) as (address, _), pytest.raises(UnavailableError, match="elsewhere"):
            trio.run(use, store_at(address, learnae_contexts), asked)
    assert not came


def test_a_daemon_that_falls_silent_in_the_middle_of_an_answer_is_cut_off(learnae_contexts: Contexts) -> None:
    told = threading.Event()

    def answer(caller: socket.socket) -> None:
        told.set()
        caller.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n1")
        caller.recv(1)  # until it was cut off

    async def test(address: str) -> None:
        store = store_at(address, learnae_contexts, silence_seconds=10_000.0)
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.roots)
                while not told.is_set():  # noqa: ASYNC110  set in a thread
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            await store.__aexit__()

    with answering(answer) as (address, _):
        trio.run(test, address)


@pytest.mark.parametrize("asked", ["block", "roots"])
@pytest.mark.parametrize("what", WRONG)
def test_what_bends_http_is_of_no_use(what: str, asked: str, learnae_contexts: Contexts) -> None:
    with answering(lambda caller: caller.sendall(WRONG[what])) as (address, _), pytest.raises(UnavailableError, match="no use of"):
        trio.run(use, store_at(address, learnae_contexts), asked)


@pytest.mark.parametrize("asked", ["block", "roots"])
def test_an_answer_by_drops_has_an_end(asked: str, learnae_contexts: Contexts) -> None:
    never = threading.Event()

    def drip(caller: socket.socket) -> None:
        caller.sendall(OK)
        while not never.wait(0.02):
            caller.sendall(b"a")

    with answering(drip) as (address, _), pytest.raises(UnavailableError, match="no use of"):
        trio.run(use, store_at(address, learnae_contexts, silence_seconds=0.5), asked)


def test_no_proxy_of_the_environment_is_asked(learnae_contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lambda caller: caller.sendall(OK + b"Content-Length: 0\r\n\r\n")) as (proxy, came):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port(proxy)}")
        with answering(lambda caller: caller.sendall(OK + b"Content-Length: 0\r\n\r\n")) as (address, asked):
            trio.run(use, store_at(address, learnae_contexts), "roots")
    assert asked and not came


def test_what_a_daemon_says_reaches_no_terminal_raw(learnae_contexts: Contexts) -> None:
    said = b'{"Message":"\\u001b[2J\\u0007' + b"very " * 1000 + b'\\u202e"}'
    head = b"HTTP/1.1 500 \x1b]0;evil\x07\r\nContent-Length: %d\r\n\r\n" % len(said)
    with answering(lambda caller: caller.sendall(head + said)) as (address, _), pytest.raises(UnavailableError) as caught:
        trio.run(use, store_at(address, learnae_contexts), "roots")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert isinstance(caught.value.__cause__, KuboRefusedError)


@pytest.mark.parametrize(
    "line",
    [
        b'{"Cid": ["a"], "Name": "learnae/"}',
        b'{"Cid": {}, "Name": 7}',
        b'{"Cid": null}',
        b'{"Progress": "x"}',
        b'{"Keys": {"a": 1}}',
        b'{"Type": "error", "Message": {"a": []}}',
        b"[" * 100_000,
        b"9" * 10_000,
    ],
)
def test_an_answer_of_other_types_does_no_harm(line: bytes, learnae_contexts: Contexts) -> None:
    head = OK + b"Content-Length: %d\r\n\r\n" % len(line)
    with answering(lambda caller: caller.sendall(head + line)) as (address, _), contextlib.suppress(UnavailableError):
        trio.run(use, store_at(address, learnae_contexts), "roots")
