"""What `learnae check` says before anything runs."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from learnae import ConfigError, Problem
from learnae.testing.context import make_context
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.check import PEER_SECONDS
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
            assert not [line for line in told if isinstance(line, Problem)]
            assert [line for line in map(str, told) if b.transport.peer in line and "does not" not in line]
            assert [line for line in map(str, told) if STRANGER in line and "does not answer" in line]
            await b.until(lambda: not b.transport.connections())  # it was only looked whether it is there
        assert (await warning(tmp_path, address, away)).key == "announcer.peers"

    in_trio(test)


def test_that_nobody_answers_keeps_the_first_of_two_peers_from_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        said = await warning(tmp_path, f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}")
        assert "none of 1" in said.message and "first" in said.message

    in_trio(test)


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
            assert "none of 1" in said.message

    in_trio(test, seconds=3 * PEER_SECONDS)


def test_a_library_that_cannot_be_used_comes_with_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        def broken(name: str) -> None:
            raise ImportError("fastecdsa: libgmp.so.10 is missing")

        monkeypatch.setattr(importlib, "import_module", broken)
        said, remedy = await problem(tmp_path)
        assert "libgmp" in said and "apt-get install" in remedy

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
