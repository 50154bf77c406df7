"""A daemon of the peer's own: it lives as long as the peer, alone on its repo, and comes back when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from learnae import UnavailableError
from learnae.testing.context import make_context
from learnae.testing.published import fetched, payloads, published, same
from learnae_ipfs.managed import daemon as managed_daemon
from learnae_ipfs.managed import peer
from learnae_ipfs.managed.peer import OwnDaemon
from learnae_ipfs.managed.process import Process
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

UPDATE = published("u", *payloads(5))
OTHER = published("other", *payloads(5, seed=1))
LIMIT = 60.0
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
KEYS = {"one": b"1" * 32, "two": b"2" * 32}

Open = Callable[..., IpfsStorage]


def daemon_of(store: IpfsStorage) -> OwnDaemon:
    assert store._own is not None
    return store._own


def pid_of(store: IpfsStorage) -> int:
    pid = daemon_of(store).managed.repo.holder
    assert pid is not None
    return pid


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # processes and files of others
        await trio.sleep(0.02)


async def roots_of(store: IpfsStorage, when: Callable[[], bool]) -> list[str]:
    """As soon as its daemon answers then."""
    while True:
        await until(when)
        with suppress(UnavailableError):
            return list(await store.roots())
        await trio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_daemon_that_is_killed_comes_back_on_its_repo_with_one_line_of_log(own: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with structlog.testing.capture_logs() as logs:
        async with own() as store:
            await store.put(UPDATE.root, UPDATE.blocks)
            first, hints, starts = pid_of(store), store.hints(), list[object]()
            start = Process.start
            monkeypatch.setattr(Process, "start", lambda *arguments: starts.append(arguments) or start(*arguments))
            os.kill(first, signal.SIGKILL)
            await until(lambda: len(logs) == 2)
            assert len(starts) == 1
            assert pid_of(store) != first
            assert store.hints() == hints
            assert same(await fetched(store, UPDATE.cids), UPDATE)
            assert list(await store.roots()) == [UPDATE.root]
    assert [line["event"] for line in logs] == ["ipfs.daemon_is_gone", "ipfs.daemon_is_back"]


async def test_a_daemon_that_is_silent_is_killed_and_started_anew(own: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_daemon, "PING_SECONDS", 0.1)

    with structlog.testing.capture_logs() as logs:
        async with own(silence_seconds=0.5) as store:
            first = pid_of(store)
            os.kill(first, signal.SIGSTOP)
            await until(lambda: not alive(first) and len(logs) == 2)
            await store.put(UPDATE.root, UPDATE.blocks)
    assert "of no use" in logs[0]["cause"]


async def test_the_daemon_ends_with_the_peer(own: Open) -> None:
    async with own() as store:
        pid = pid_of(store)
    await until(lambda: not alive(pid))


PEER = """
import sys, trio
from pathlib import Path
from learnae.testing.context import make_context
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

async def live(program, home):
    options = IpfsStorageOptions(program=program, listen=("/ip4/127.0.0.1/tcp/0",))
    async with IpfsStorage(options, make_context(Path(home))):
        print("open", flush=True)
        await trio.sleep_forever()

trio.run(live, *sys.argv[1:])
"""


@contextmanager
def peer_that_lives(program: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", PEER, program, str(home)], stdout=subprocess.PIPE) as peer:
        try:
            assert peer.stdout is not None and peer.stdout.readline() == b"open\n"
            yield peer
        finally:
            peer.kill()


def test_no_daemon_is_left_of_a_peer_that_is_killed(kubo_program: str, tmp_path: Path) -> None:
    with peer_that_lives(kubo_program, tmp_path / "a"):
        repo = Repo(tmp_path / "a" / "repo")
        pid = repo.holder
        assert pid is not None and alive(pid)
    end = time.monotonic() + LIMIT
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert repo.address is None  # it took its leave in order


async def test_whoever_uses_the_daemon_of_another_runs_one_when_that_has_left(
    own: Open, kubo_program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "TAKE_OVER_SECONDS", 0.05)

    with peer_that_lives(kubo_program, tmp_path / "a") as first:
        async with own(key=None) as store:
            before = pid_of(store)
            await store.put(UPDATE.root, UPDATE.blocks)
            first.kill()
            assert await roots_of(store, when=lambda: daemon_of(store).managed.repo.holder not in (None, before)) == [UPDATE.root]


async def test_a_daemon_that_lost_peer_and_guard_is_ended_by_the_next_start(
    own: Open, kubo_program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with peer_that_lives(kubo_program, tmp_path / "a"):
        left = Repo(tmp_path / "a" / "repo").holder
        assert left is not None
        for pid in _members(os.getpgid(left)) - {left}:
            os.kill(pid, signal.SIGKILL)
    assert alive(left)
    monkeypatch.setattr(managed_daemon, "FREE_SECONDS", 1.0)

    async with own(key=None) as store:
        assert pid_of(store) != left
        assert not alive(left)


def _members(group: int) -> set[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
    return {int(pid) for pid, pgid in (line.split() for line in listed.splitlines()) if int(pgid) == group}


async def test_a_repo_that_somebody_else_uses_is_left_to_them(
    own: Open, kubo_program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with own():
        pass
    repo = Repo(tmp_path / "a" / "repo")
    environment = {**os.environ, "IPFS_PATH": str(repo.folder)}
    theirs = await trio.lowlevel.open_process([kubo_program, "daemon"], env=environment, stdout=subprocess.DEVNULL)
    try:
        await until(lambda: repo.holder == theirs.pid and repo.address is not None)
        socket = Path(str(repo.address).removeprefix("/unix"))
        assert socket.is_socket()
        monkeypatch.setattr(managed_daemon, "FREE_SECONDS", 0.2)
        with pytest.raises(UnavailableError, match=f"used by process {theirs.pid}.*end it"):
            await own().__aenter__()
        assert theirs.poll() is None
        assert repo.address is not None
        assert socket.is_socket(), "nobody can reach it any more"
    finally:
        theirs.kill()
        await theirs.wait()


@pytest.mark.parametrize(
    ("program", "told"), [("no-such-kubo", "no program no-such-kubo: install Kubo"), ("/bin/false", "cannot be prepared")]
)
async def test_a_program_that_is_no_kubo_is_told(own: Open, program: str, told: str) -> None:
    with pytest.raises(UnavailableError, match=told):
        await own(program=program).__aenter__()


async def test_a_home_in_which_no_repo_can_be_is_unavailable(own: Open, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")

    with pytest.raises(UnavailableError, match="cannot be used"):
        await own().__aenter__()


async def test_a_repo_that_a_crash_left_half_made_is_made_anew(own: Open, tmp_path: Path) -> None:
    (tmp_path / "a" / "repo.new" / "blocks").mkdir(parents=True)
    (tmp_path / "a" / "repo.new" / "config").write_text("{")

    async with own() as store:
        await store.put(UPDATE.root, UPDATE.blocks)


async def test_a_daemon_that_the_user_started_anew_at_another_port_is_found_by_its_repo(new_kubo: Any, tmp_path: Path) -> None:
    kubo = new_kubo()
    store = IpfsStorage(IpfsStorageOptions(repo=kubo.repo, search_seconds=1.0), make_context(tmp_path))

    async with store:
        await store.put(UPDATE.root, UPDATE.blocks)
        before = kubo.address
        kubo.kill()
        with pytest.raises(UnavailableError):
            await store.roots()
        await trio.to_thread.run_sync(kubo.start)
        assert kubo.address != before
        assert list(await store.roots()) == [UPDATE.root]
        assert same(await fetched(store, UPDATE.cids), UPDATE)


@pytest.mark.parametrize(
    "options",
    [{"address": "/ip4/127.0.0.1/tcp/5001", "repo": Path("repo")}, {"address": "/ip4/127.0.0.1/tcp/5001", "mdns": True}, {"listen": ()}],
)
def test_keys_that_would_have_no_effect_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"twice|no effect|must be"):
        IpfsStorageOptions(**options)
