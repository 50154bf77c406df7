"""What answers like a daemon, and does not come to an end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from learnae import UnavailableError
from learnae.lowlevel import MEGABYTE, raw_cid
from learnae.testing.published import fetched
from learnae_ipfs.answers import KuboAnswer
from learnae_ipfs.line import KuboConnection
from learnae_ipfs.meetings import is_hint
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.pinning import WAITING, WHOLE, is_pinned, is_whole, pin, pin_alone, pinned, unpin
from learnae_ipfs.storage import IpfsStorage

if TYPE_CHECKING:
    from learnae import Context

    Contexts = Callable[[str], Context]

ALL = 300 * MEGABYTE
TAKEN = 32 * MEGABYTE  # with all that the sockets between the two may hold
LIMIT = 60.0
CID = raw_cid(b"not there")


class Talker:
    """Says `head` to whoever asks for anything, and as much more as is taken, up to `ALL`."""

    def __init__(self, head: str) -> None:
        self.head = f"HTTP/1.1 {head}\r\n\r\n".encode()
        self.said = 0

    def serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._answer(server.accept()[0])

    def _answer(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):  # it was cut off
            line.recv(1 << 16)
            line.sendall(self.head)
            while self.said < ALL:
                self.said += line.send(b"x" * (1 << 16))


@contextlib.contextmanager
def serving(talker: Talker) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=talker.serve, args=(server,))
        thread.start()
        try:
            yield f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


LENGTHS = (f"Content-Length: {ALL}", f"Transfer-Encoding: chunked\r\n\r\n{ALL:x}", "Connection: close")


@pytest.mark.parametrize("length", LENGTHS, ids=["announced", "in one chunk", "not announced"])
@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
@pytest.mark.parametrize("asked", ["block", "roots"])
def test_no_more_is_read_than_a_daemon_has_to_say(asked: str, status: str, length: str, learnae_contexts: Contexts) -> None:
    talker = Talker(f"{status}\r\n{length}")

    async def test(address: str) -> None:
        store = IpfsStorage(IpfsStorageOptions(address=address, search_seconds=0.1), learnae_contexts("a"))
        with trio.fail_after(LIMIT), pytest.raises(UnavailableError):
            await (fetched(store, [CID]) if asked == "block" else store.roots())
        await store.__aexit__()

    with serving(talker) as address:
        trio.run(test, address)
    assert 0 < talker.said < TAKEN


class Kept(dict[str, str]):
    """An answer; the class knows how many of them are kept at most."""

    alive = most = 0

    def __init__(self) -> None:
        super().__init__()
        Kept.alive += 1
        Kept.most = max(Kept.most, Kept.alive)

    def __del__(self) -> None:
        Kept.alive -= 1


class Chatty(KuboConnection):
    """Answers with a thousand objects, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__("/ip4/127.0.0.1/tcp/1", 1.0)

    def ask(self, path: str, *args: str, **options: Any) -> Iterator[Any]:
        return (Kept() for _ in range(1000))


def pin_in_vain(line: KuboConnection) -> None:
    with pytest.raises(UnavailableError):
        pin(line, CID, "name")


CALLS: dict[str, Callable[[KuboConnection], object]] = {
    "is_pinned": lambda line: is_pinned(line, CID, "name", WHOLE),
    "pin": pin_in_vain,
    "unpin": lambda line: unpin(line, CID, ""),
    "pinned": lambda line: pinned(line, "", WHOLE),
    "pin_alone": lambda line: pin_alone(line, CID, ""),
    "is_whole": lambda line: is_whole(line, CID),
}


class EverOther(KuboConnection):
    """Tells of progress that comes to no end, by ever other numbers."""

    def __init__(self, numbers: Iterator[int]) -> None:
        super().__init__("/ip4/127.0.0.1/tcp/1", 1.0)
        self.numbers = numbers
        self.told = 0

    def ask(self, path: str, *args: str, **options: Any) -> Iterator[Any]:
        for number in self.numbers:
            self.told += 1
            yield {"Progress": number}


@pytest.mark.parametrize("numbers", [(5, 4, 3, 2, 1) * 1000, range(1_000_000, 0, -1), (-number for number in range(1_000_000))])
def test_progress_that_gets_no_further_ends_a_pin(numbers: Iterable[int]) -> None:
    line = EverOther(iter(numbers))
    with pytest.raises(UnavailableError):
        pin(line, CID, "name")
    assert line.told <= WAITING + 1


@pytest.mark.parametrize("call", CALLS)
def test_of_many_small_answers_none_is_kept_but_those_that_are_wanted(call: str) -> None:
    """64 MiB of `{}` became 1,163 MiB."""
    Kept.alive = Kept.most = 0
    CALLS[call](Chatty())
    assert Kept.most <= 3


def test_of_pins_none_is_kept_that_is_longer_than_ours_or_no_plain_text() -> None:
    """Sixty megabytes of them took seven hundred, and half a character ended the call as a mistake of the plugin."""
    sound = {"Cid": "bafy", "Name": "ours/root"}
    told = [
        {**sound, "Name": "ours/" + "a" * MEGABYTE},
        {**sound, "Cid": "b" * MEGABYTE},
        {**sound, "Cid": "\ud800"},
        {**sound, "Cid": "\x1b"},
    ]
    line: Any = SimpleNamespace(ask=lambda *_, **__: iter([*told, sound]))
    assert pinned(line, "ours/", WHOLE) == {"bafy": "ours/root"}


@pytest.mark.parametrize("told", [-1, True, 1 << 63, 10**400, 0.5, "7"])
def test_what_counts_no_bytes_is_no_number(told: Any) -> None:
    assert KuboAnswer(200, {"StorageMax": told}).number("StorageMax") is None


@pytest.mark.parametrize("end", ["\ud800", "\x1b[2J", "\u202e", " ", ""])
def test_an_address_with_anything_behind_its_name_is_none(end: str) -> None:
    assert is_hint(f"/ip4/127.0.0.1/tcp/1/p2p/12D3{end}") is (end == "")
