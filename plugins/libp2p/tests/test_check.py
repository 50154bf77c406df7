"""What `learnae check` says before anything runs."""

from __future__ import annotations

import errno
import importlib
import logging
import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from learnae import ConfigError, Problem
from learnae.testing.context import make_context, peer_named
from learnae_libp2p.addresses import name_of, parse_address
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.check import PEER_SECONDS, _listening
from learnae_libp2p.host import LIBRARIES
from learnae_libp2p.options import GossipsubOptions
from learnae_libp2p.storage import Libp2pStorage, Libp2pStorageOptions
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P, OpenPeer, in_trio, stranger

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

STRANGER = stranger()


async def found(folder: Path, *peers: str, listen: tuple[str, ...] = LOOPBACK, mdns: bool = True) -> Sequence[str | Problem]:
    """Raises ConfigError."""
    context = make_context(folder / "checked", peer="checked")
    return await GossipsubAnnouncer(GossipsubOptions(listen=listen, peers=peers, mdns=mdns), context).check()


async def lines(folder: Path, *peers: str, listen: tuple[str, ...] = LOOPBACK) -> Sequence[str]:
    """What is fine."""
    return [line for line in await found(folder, *peers, listen=listen) if isinstance(line, str)]


async def warning(folder: Path, *peers: str, mdns: bool = True) -> Problem:
    """The only one."""
    (only,) = [line for line in await found(folder, *peers, mdns=mdns) if isinstance(line, Problem)]
    assert only.suggestion
    return only


async def problem(folder: Path, *peers: str, listen: tuple[str, ...] = LOOPBACK) -> tuple[str, str]:
    """What is wrong, and the remedy."""
    with pytest.raises(ConfigError) as caught:
        await lines(folder, *peers, listen=listen)
    (only,) = caught.value.problems
    assert only.suggestion
    return str(only), only.suggestion


def test_a_port_that_is_taken_is_named_and_one_that_is_free(tmp_path: Path) -> None:
    async def test() -> None:
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            place = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
            said, _ = await problem(tmp_path, listen=(place,))
            assert said.startswith("announcer.listen") and place in said
        assert any(place in line and "free" in line for line in await lines(tmp_path, listen=(place,)))

    in_trio(test)


def test_an_address_that_this_machine_does_not_have_comes_with_one_that_it_has(tmp_path: Path) -> None:
    async def test() -> None:
        said, remedy = await problem(tmp_path, listen=("/ip4/192.0.2.1/tcp/4101",))
        assert "192.0.2.1" in said and "/ip4/0.0.0.0/tcp/4101" in remedy

    in_trio(test)


def test_a_named_peer_that_answers_is_said_to_and_one_that_does_not(tmp_path: Path, open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("b") as b:
            (address,) = b.transport.local_addresses()
            away = f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}"
            told = await found(tmp_path, address, away)
            assert [line for line in told if isinstance(line, str) and b.transport.peer in line]
            (doubt,) = [line for line in told if isinstance(line, Problem)]
            assert STRANGER in doubt.message and "refused" in doubt.message and "start" in (doubt.suggestion or "")
            await b.until(lambda: not b.transport.connections())  # it was only looked whether it is there
        assert {line.key for line in await found(tmp_path, address, away) if isinstance(line, Problem)} == {"announcer.peers"}

    in_trio(test)


def test_that_nobody_answers_keeps_the_first_of_two_peers_from_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        said = await warning(tmp_path, f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}")
        assert "does not answer" in said.message and "first" in said.message
        two = [f"/ip4/127.0.0.1/tcp/1/p2p/{name}" for name in (STRANGER, name_of(peer_named("another")))]
        doubts = [line.message for line in await found(tmp_path, *two) if isinstance(line, Problem)]
        assert len(doubts) == 3 and sum("first peer" in doubt for doubt in doubts) == 1

    in_trio(test)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "port"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "firewall"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "firewall"),
    ],
)
def test_nobody_who_listens_is_told_from_nobody_who_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, word: str
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        try:
            raise ExceptionGroup("several", [error])
        except ExceptionGroup as group:
            raise OSError("all attempts to connect failed") from group

    async def test() -> None:
        monkeypatch.setattr(trio, "open_tcp_stream", refuse)
        said = await warning(tmp_path, f"/ip4/127.0.0.1/tcp/9/p2p/{STRANGER}")
        assert word in (said.suggestion or "") and ("refused" in said.message) == (word == "port")

    in_trio(test)


def test_an_address_that_nobody_else_can_dial_is_not_told_where_there_are_others() -> None:
    def shown(*places: str) -> str:
        probing = SimpleNamespace(
            narrowed=lambda asked, interface: asked,
            claim=lambda address: None,
            reachable=lambda address: [parse_address(one) for one in places],
        )
        (line,) = _listening(GossipsubOptions(listen=("/ip4/0.0.0.0/tcp/4101",)), "announcer.listen", probing, [])
        return line

    lo, far = "/ip4/127.0.0.1/tcp/4101", "/ip4/192.168.1.5/tcp/4101"
    assert far in shown(lo, far) and lo not in shown(lo, far)
    assert lo in shown(lo)


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("192.168.77.1:4101", "/ip4/192.168.77.1/tcp/4101/p2p/"),
        ("fd00::1", "/p2p/"),
        ("/ip4/192.168.77.1/tcp/4101", "/ip4/192.168.77.1/tcp/4101/p2p/"),
        ("peer.example:4101", "/dns4/peer.example/tcp/4101/p2p/"),
    ],
)
def test_what_is_no_address_is_shown_with_what_to_write(written: str, remedy: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        GossipsubOptions(peers=(written,))
    assert repr(written) in str(caught.value) and remedy in str(caught.value)


@pytest.mark.parametrize("table", ["storage", "announcer"])
def test_what_is_wrong_names_the_table_in_which_it_is_written(tmp_path: Path, table: str) -> None:
    async def test() -> None:
        context = make_context(tmp_path / "a", peer="a")
        peers, place = (f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}",), ("/ip4/192.0.2.1/tcp/4101",)
        said: dict[str, tuple[str, ...]] = {"listen": place, "peers": peers}
        announcer = GossipsubAnnouncer(GossipsubOptions(**(said if table == "announcer" else {})), context)
        Libp2pStorage(Libp2pStorageOptions(**(said if table == "storage" else {})), context)
        with pytest.raises(ConfigError) as caught:
            await announcer.check()
        assert [problem.key for problem in caught.value.problems] == [f"{table}.listen"]

    in_trio(test)


def test_whether_others_reach_it_is_said_by_those_who_answer(tmp_path: Path) -> None:
    async def test() -> None:
        context = make_context(tmp_path / "there", peer="there")
        async with GossipsubAnnouncer(GossipsubOptions(listen=LOOPBACK, mdns=False), context) as there:
            told = map(str, await found(tmp_path, *there.transport.local_addresses()))
            assert [line for line in told if "others can dial this peer" in line and "127.0.0.1" in line]

    in_trio(test)


def test_somebody_else_at_the_address_of_a_named_peer_is_named(tmp_path: Path, open_peer: OpenPeer) -> None:
    async def test() -> None:
        async with open_peer("b") as b:
            place = b.transport.local_addresses()[0].partition("/p2p/")[0]
            said, _ = await problem(tmp_path, f"{place}/p2p/{STRANGER}")
            assert b.transport.peer in said

    in_trio(test)


def test_who_accepts_and_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        with closing(socket.socket()) as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            said = await warning(tmp_path, f"/ip4/127.0.0.1/tcp/{mute.getsockname()[1]}/p2p/{STRANGER}")
            assert "does not answer" in said.message

    in_trio(test, seconds=3 * PEER_SECONDS)


def test_a_library_that_cannot_be_used_comes_with_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        def broken(name: str) -> None:
            raise ImportError("fastecdsa: libgmp.so.10 is missing")

        monkeypatch.setattr(importlib, "import_module", broken)
        said, remedy = await problem(tmp_path)
        assert "libgmp" in said and "apt-get install" in remedy

    in_trio(test)


def test_what_the_library_logs_meanwhile_goes_to_the_log_and_not_to_the_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        loggers, before = [logging.getLogger(name) for name in LIBRARIES], list[int]()

        async def looked(*_: object, **__: object) -> None:
            before.extend(len(one.handlers) for one in loggers)
            raise OSError

        there = [len(one.handlers) for one in loggers]
        monkeypatch.setattr(trio, "open_tcp_stream", looked)
        await found(tmp_path, f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}")
        assert before == [number + 1 for number in there]
        assert [len(one.handlers) for one in loggers] == there

    in_trio(test)


def test_one_host_is_checked_once_for_both_tables(tmp_path: Path) -> None:
    async def test() -> None:
        context = make_context(tmp_path / "a", peer="a")
        announcer = GossipsubAnnouncer(GossipsubOptions(), context)
        storage = Libp2pStorage(Libp2pStorageOptions(listen=LOOPBACK), context)
        assert any("127.0.0.1" in str(line) for line in await announcer.check())
        assert not await storage.check()

    in_trio(test)


def test_who_names_nobody_and_looks_for_nobody_is_told_what_that_means(tmp_path: Path) -> None:
    async def test() -> None:
        assert "alone" in (await warning(tmp_path, mdns=False)).message
        assert not any(isinstance(line, Problem) for line in await found(tmp_path))

    in_trio(test)
