"""Nobody but its owner reaches the RPC of a daemon of a peer's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from learnae import UnavailableError
from learnae.testing.published import fetched, payloads, published, same
from learnae_ipfs.line import KuboConnection, check_address
from learnae_ipfs.managed import rpc
from learnae_ipfs.managed.peer import OwnDaemon
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage
from tests.support.limits import run

UPDATE = published("u", *payloads(5))
NOBODY = 65534
PATHS = (
    "/api/v0/id",
    "/api/v0/version",
    "/api/v0/shutdown",
    "/api/v0/config/show",
    "/debug/vars",
    "/debug/pprof/",
    "/webui",
    "/ipfs/bafkqaaa",
)

Open = Callable[..., IpfsStorage]


def daemon_of(store: IpfsStorage) -> OwnDaemon:
    assert store._own is not None
    return store._own


def repo_of(store: IpfsStorage) -> Repo:
    return daemon_of(store).managed.repo


def socket_of(store: IpfsStorage) -> Path:
    path = rpc.path_of(repo_of(store).address)
    assert path is not None
    return path


def ports_of(pid: int) -> set[int]:
    """Where a process listens over TCP."""
    inodes = {os.readlink(link)[8:-1] for link in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(link).startswith("socket:[")}
    rows = [row.split() for kind in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes}


async def test_the_rpc_listens_at_no_port_and_nothing_but_the_network_of_the_swarm_does(own: Open) -> None:
    if not Path("/proc").exists():
        pytest.skip("needs /proc: Linux")
    async with own() as store:
        repo = repo_of(store)
        (swarm,) = json.loads((repo.folder / "config").read_text())["Addresses"]["Swarm"]
        assert repo.holder is not None
        assert ports_of(repo.holder) == {int(swarm.rpartition("/")[2])}
        assert socket_of(store).is_socket()


def test_socket_and_folder_are_closed_to_all_others(own: Open) -> None:
    async def test() -> None:
        async with own() as store:
            path = socket_of(store)
            assert not path.stat().st_mode & 0o077
            assert not path.parent.stat().st_mode & 0o077

    old = os.umask(0)
    try:
        run(test)
    finally:
        os.umask(old)


@pytest.mark.parametrize("path", PATHS)
async def test_another_user_of_the_machine_reaches_no_path_of_it(path: str, own: Open, tmp_path: Path) -> None:
    """Not even where every folder above is open to all."""
    if os.geteuid() != 0:
        pytest.skip("needs root: another user is played by a process that gives its rights away")
    script = f"""
import os, socket, sys
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
with socket.socket(socket.AF_UNIX) as line:
    try:
        line.connect(sys.argv[1])
    except PermissionError:
        sys.exit(13)
    line.sendall(b"POST {path} HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n")
    print(line.recv(1000))
"""

    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    async with own() as store:
        command = [sys.executable, "-c", script, str(socket_of(store))]
        done = await trio.run_process(command, check=False, capture_stdout=True)
        assert done.returncode == 13, done.stdout
        await store.put(UPDATE.root, UPDATE.blocks)
        assert same(await fetched(store, UPDATE.cids), UPDATE)


async def test_a_repo_of_an_earlier_version_is_closed_at_the_next_start(own: Open) -> None:
    """Its RPC was at a port, and its folder may have been open."""

    async with own() as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        repo, address = repo_of(store), store.hints()
    config = json.loads((repo.folder / "config").read_text())
    config["Addresses"]["API"] = "/ip4/127.0.0.1/tcp/0"
    config["API"]["Authorizations"] = {"me": {"AuthSecret": "bearer:forgotten", "AllowedPaths": ["/api/v0"]}}
    (repo.folder / "config").write_text(json.dumps(config))
    (repo.folder / "api").write_text("/ip4/127.0.0.1/tcp/5001")
    repo.folder.chmod(0o755)
    async with own() as store:
        assert socket_of(store).is_socket()
        assert repo.folder.stat().st_mode & 0o777 == 0o700
        assert same(await fetched(store, UPDATE.cids), UPDATE)
        assert store.hints() == address


async def test_a_socket_that_a_killed_daemon_left_is_no_obstacle(own: Open) -> None:
    store = own()
    async with store:
        path = socket_of(store)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with own() as store:
        await store.put(UPDATE.root, UPDATE.blocks)


async def test_kubo_at_the_command_line_still_reaches_it(own: Open, kubo_program: str) -> None:
    async with own() as store:
        environment = {**os.environ, "IPFS_PATH": str(repo_of(store).folder)}
        done = await trio.run_process([kubo_program, "swarm", "peers"], env=environment, check=False, capture_stderr=True)
        assert done.returncode == 0, done.stderr


async def test_a_home_with_a_path_too_long_for_a_socket_has_it_elsewhere_and_leaves_nothing_there(own: Open) -> None:
    peer = f"{'long' * 20}/ä b"
    async with own(peer) as store:
        path = socket_of(store)
        assert not path.is_relative_to(repo_of(store).folder)
        assert not path.parent.stat().st_mode & 0o077
        await store.put(UPDATE.root, UPDATE.blocks)
    assert not path.parent.exists()
    async with own(peer) as store:
        assert same(await fetched(store, UPDATE.cids), UPDATE)


def test_a_folder_that_a_killed_daemon_left_is_used_again(tmp_path: Path) -> None:
    repo = tmp_path / ("x" * 120)
    first = rpc.socket_for(repo, None)
    assert rpc.socket_for(repo, first) == first
    rpc.clear(first)
    assert not first.parent.exists()


@pytest.mark.parametrize("spoil", ["link", "open", "gone"])
def test_no_folder_is_used_again_that_others_may_have_made(spoil: str, tmp_path: Path) -> None:
    repo = tmp_path / ("x" * 120)
    first = rpc.socket_for(repo, None)
    if spoil == "open":
        first.parent.chmod(0o777)
    else:
        first.parent.rmdir()
    if spoil == "link":
        first.parent.symlink_to(tmp_path)
    second = rpc.socket_for(repo, first)
    assert second.parent != first.parent
    assert not second.parent.stat().st_mode & 0o077
    second.parent.rmdir()
    first.parent.unlink() if spoil == "link" else first.parent.exists() and first.parent.rmdir()


def test_a_daemon_that_others_run_may_be_at_a_unix_socket(tmp_path: Path) -> None:
    check_address(f"/unix{tmp_path}/rpc")
    assert IpfsStorageOptions(address=f"/unix{tmp_path}/rpc").address
    line = KuboConnection(f"/unix{tmp_path}/rpc", 1.0)
    with pytest.raises(FileNotFoundError):
        line.read("id", most=1000)
    line.close()


async def test_a_home_of_another_user_is_not_used(own: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = own()

    async with store:
        pass
    monkeypatch.setattr("os.geteuid", lambda: NOBODY)
    with pytest.raises(UnavailableError, match=r"this user|another user"):
        await store._own.__aenter__() if store._own else None


async def test_no_secret_is_on_a_command_line(own: Open) -> None:
    async with own() as store:
        listed = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout  # noqa: ASYNC221
        key = daemon_of(store).managed.settings.key
        assert key is not None and key.hex() not in listed
