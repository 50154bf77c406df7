"""What a check finds out about a daemon, and what to do about it."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio

from learnae import ConfigError
from learnae.cli.main import main
from learnae_ipfs import remarks
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

if TYPE_CHECKING:
    from pathlib import Path

    from learnae import Context

    Contexts = Callable[[str], Context]

SWARM_KEY = "2e" * 32
FREE = {"diskinfo": {"free_space": 1 << 40}}
ID = {"ID": "12D3KooWFake", "Addresses": ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWFake"]}
LIKE_KUBO = {
    "version": (200, {"Version": "0.38.2"}),
    "id": (200, ID),
    "repo/stat": (200, {"RepoSize": 1, "StorageMax": 10**10, "RepoPath": "/nowhere/at/all"}),
    "diag/sys": (200, FREE),
}


def said(address: str, context: Context) -> list[str]:
    """What a check finds fine."""

    async def check() -> list[str]:
        with trio.fail_after(60):
            return list(await IpfsStorage(IpfsStorageOptions(address=address), context).check())

    return trio.run(check)


def problems(address: str, context: Context) -> str:
    with pytest.raises(ConfigError) as caught:
        said(address, context)
    return str(caught.value)


def in_private(context: Context) -> Context:
    return attrs.evolve(context, secret=lambda purpose: b"s" * 32)


@contextmanager
def fake(**changes: tuple[int, Any] | None) -> Iterator[str]:
    """The address of what answers like a Kubo with room and without faults, but for these calls, or never; `_` stands for `/`."""
    over = threading.Event()
    answers: dict[str, tuple[int, Any] | None] = {**LIKE_KUBO, **{path.replace("_", "/"): answer for path, answer in changes.items()}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = answers.get(urlsplit(self.path).path.removeprefix("/api/v0/"), (400, "an argument is required"))
            if answer is None:
                over.wait(60)
                return
            status, body = answer
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"/ip4/127.0.0.1/tcp/{server.server_port}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


def test_a_daemon_that_does_all_is_said_to_with_its_version_and_its_room(
    shared_kubo: Any, kubo_version: str, learnae_contexts: Contexts
) -> None:
    calls, room = said(shared_kubo.address, learnae_contexts("a"))
    assert calls.startswith(f"Kubo {kubo_version} at {shared_kubo.address} allows all calls")
    assert "MiB of at most 9,536" in room and "free on its disk" in room


def test_a_check_changes_nothing_in_the_daemon(shared_kubo: Any, learnae_contexts: Contexts) -> None:
    def state() -> list[list[str]]:
        commands = (("pin", "ls", "--type=recursive", "--names"), ("refs", "local"), ("swarm", "peers"), ("config", "show"))
        return [sorted(shared_kubo.ipfs(*command).splitlines()) for command in commands]  # lists come in any order

    before = state()
    said(shared_kubo.address, in_private(learnae_contexts("a")))
    assert state() == before


def test_a_daemon_that_is_not_there_is_to_be_started(learnae_contexts: Contexts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = problems(f"/ip4/127.0.0.1/tcp/{port}", learnae_contexts("a"))
    assert f"no IPFS daemon answers at /ip4/127.0.0.1/tcp/{port} " in found and "`ipfs daemon`" in found and "leave `address` out" in found


def test_a_daemon_that_says_nothing_is_not_waited_for(learnae_contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as server:
        found = problems(f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}", learnae_contexts("a"))
    assert "no IPFS daemon answers" in found and "`ipfs daemon`" in found


def test_a_gateway_is_no_rpc(shared_kubo: Any, learnae_contexts: Contexts) -> None:
    gateway = urlsplit((shared_kubo.repo / "gateway").read_text().strip())
    found = problems(f"/ip4/{gateway.hostname}/tcp/{gateway.port}", learnae_contexts("a"))
    assert "no RPC of an IPFS daemon (status 404)" in found and "`ipfs config Addresses.API`" in found


@pytest.mark.parametrize("body", ["<html>hello</html>", {"hello": "world"}, [1, 2], {"Version": "soon"}, "[" * 100_000, ""])
def test_some_other_server_is_no_rpc(body: Any, learnae_contexts: Contexts) -> None:
    with fake(version=(200, body)) as address:
        assert "no RPC of an IPFS daemon (status 200)" in problems(address, learnae_contexts("a"))


def test_all_calls_that_are_not_allowed_are_named(learnae_contexts: Contexts) -> None:
    with fake(pin_add=(403, "403 - Access Denied"), pin_rm=(403, {"Message": "denied"}), dag_import=(404, "404 page not found")) as address:
        found = problems(address, learnae_contexts("a"))
    assert "does not allow the calls dag/import (404), pin/add (403), pin/rm (403)" in found and "API.Authorizations" in found


def test_a_block_that_may_not_be_removed_could_never_be_mended(learnae_contexts: Contexts) -> None:
    with fake(block_rm=(403, "403 - Access Denied")) as address:
        assert "does not allow the calls block/rm (403)" in problems(address, learnae_contexts("a"))


def test_a_daemon_that_allows_nothing_without_a_password_is_told_from_no_daemon(learnae_contexts: Contexts) -> None:
    with fake(**dict.fromkeys(["version", *(call[0] for call in remarks.CALLS)], (403, "403 - Access Denied"))) as address:
        found = problems(address, learnae_contexts("a"))
    assert "version (403), id (403)" in found and "API.Authorizations" in found


@pytest.mark.parametrize("version", ["0.37.0", "0.4.23", "0.37.1-dev"])
def test_a_daemon_that_is_too_old_is_to_be_replaced(version: str, learnae_contexts: Contexts) -> None:
    with fake(version=(200, {"Version": version})) as address:
        found = problems(address, learnae_contexts("a"))
    assert f"is Kubo {version.removesuffix('-dev')}, which is too old" in found
    assert "install a newer one; 0.38 to 0.38.2 were tested" in found


def test_a_daemon_newer_than_the_tests_is_only_remarked(learnae_contexts: Contexts) -> None:
    with fake(version=(200, {"Version": "0.41.0"})) as address:
        assert "newer than what is known to work: 0.38 to 0.38.2 were tested" in said(address, learnae_contexts("a"))[0]
    with fake(version=(200, {"Version": "0.38.2"})) as address:
        assert "newer" not in said(address, learnae_contexts("a"))[0]


def test_a_full_disk_is_a_problem(learnae_contexts: Contexts) -> None:
    with fake(diag_sys=(200, {"diskinfo": {"free_space": 5 << 20}})) as address:
        found = problems(address, learnae_contexts("a"))
    assert "only 5 MiB are free on the disk of the IPFS daemon" in found and "make room" in found


def test_what_a_daemon_does_not_tell_is_no_problem(learnae_contexts: Contexts) -> None:
    with fake(repo_stat=(403, ""), diag_sys=(403, "")) as address:
        assert len(said(address, in_private(learnae_contexts("a")))) == 1


def test_a_daemon_that_takes_long_to_count_its_repo_is_not_waited_for(learnae_contexts: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "ANSWER_SECONDS", 0.5)
    with fake(repo_stat=None) as address:
        assert len(said(address, in_private(learnae_contexts("a")))) == 1


def test_a_storage_limit_that_is_nearly_reached_is_remarked(new_kubo: Any, learnae_contexts: Contexts) -> None:
    kubo = new_kubo()
    kubo.kill()
    kubo.ipfs("config", "Datastore.StorageMax", "1MB")
    kubo.start()
    assert "limit is nearly" not in " ".join(said(kubo.address, learnae_contexts("a")))
    kubo.ipfs("add", "-q", data=random.Random(0).randbytes(1_000_000))
    last = said(kubo.address, learnae_contexts("a"))[-1]
    assert "limit is nearly reached" in last and "Datastore.StorageMax" in last and "ipfs repo gc" in last


def test_a_private_swarm_is_told_of_a_daemon_in_a_public_network(shared_kubo: Any, learnae_contexts: Contexts) -> None:
    network = said(shared_kubo.address, in_private(learnae_contexts("a")))[-1]
    assert "public network" in network and "LIBP2P_FORCE_PNET=1" in network
    assert "network" not in " ".join(said(shared_kubo.address, learnae_contexts("a")))


@pytest.mark.parametrize(("key", "told"), [("73" * 32, "the private network of this swarm"), ("1f" * 32, "a key of its own")])
def test_it_is_told_whether_a_private_network_is_that_of_the_swarm(key: str, told: str, new_kubo: Any, learnae_contexts: Contexts) -> None:
    assert told in said(new_kubo(key).address, in_private(learnae_contexts("a")))[-1]


def test_a_repo_on_which_no_daemon_runs_is_told(tmp_path: Path, learnae_contexts: Contexts) -> None:
    with pytest.raises(ConfigError, match=r"storage\.repo: no daemon runs.*ipfs daemon"):
        trio.run(IpfsStorage(IpfsStorageOptions(repo=tmp_path), learnae_contexts("a")).check)


@pytest.mark.timeout(20)
def test_a_pipe_that_is_put_in_the_place_of_a_daemons_file_holds_up_no_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(json.dumps({"Identity": {"PeerID": "a"}}))
    (tmp_path / "key").write_text("text")
    (tmp_path / "swarm.key").symlink_to("key")
    assert remarks._swarm_key(tmp_path, "a") == "text"
    (tmp_path / "key").unlink()
    os.mkfifo(tmp_path / "key")
    monkeypatch.setattr(type(tmp_path), "is_file", lambda self: True)  # it was, a moment ago
    assert remarks._swarm_key(tmp_path, "a") is None


def test_a_daemon_elsewhere_shows_by_its_addresses_that_its_network_is_public(new_kubo: Any, learnae_contexts: Contexts) -> None:
    kubo = new_kubo()
    kubo.kill()
    kubo.ipfs("config", "--json", "Addresses.Swarm", '["/ip4/127.0.0.1/udp/0/quic-v1"]')
    kubo.start()
    config = kubo.repo / "config"
    config.write_text(config.read_text().replace(kubo.ipfs("config", "Identity.PeerID"), "somebody else"))  # the repo of no daemon here
    assert "public network" in said(kubo.address, in_private(learnae_contexts("a")))[-1]


def test_nothing_is_said_of_a_network_that_cannot_be_known(new_kubo: Any, learnae_contexts: Contexts) -> None:
    kubo = new_kubo()
    config = kubo.repo / "config"
    config.write_text(config.read_text().replace(kubo.ipfs("config", "Identity.PeerID"), "somebody else"))
    assert "network" not in " ".join(said(kubo.address, in_private(learnae_contexts("a"))))


def test_the_command_tells_all_of_it(shared_kubo: Any, kubo_version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "learnae.toml"
    file.write_text(f'[swarm]\nopen = true\n[[storage]]\nuse = "ipfs"\naddress = "{shared_kubo.address}"\n')
    assert main(["check", str(file)]) == 0
    assert f"ok  storage ipfs: Kubo {kubo_version} at {shared_kubo.address} allows all calls" in capsys.readouterr().out
    with fake(version=(200, {"Version": "0.30.0"}), pin_ls=(403, "")) as address:
        file.write_text(file.read_text().replace(shared_kubo.address, address))
        assert main(["check", str(file)]) == 2
    err = capsys.readouterr().err
    assert "2 problems to mend" in err and "storage.address: " in err and "pin/ls (403)" in err and "Kubo 0.30.0" in err


@pytest.mark.parametrize("body", ["repo is broken", {"Message": "repo is broken", "Type": "error"}], ids=["a text", "as Kubo"])
@pytest.mark.parametrize("status", [500, 502])
def test_a_daemon_that_answers_with_an_error_is_not_to_be_started(status: int, body: Any, learnae_contexts: Contexts) -> None:
    with fake(version=(status, body)) as address:
        found = problems(address, learnae_contexts("a"))
    assert address in found and "answers" in found
    assert "no IPFS daemon answers" not in found and "`ipfs daemon`" not in found


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 9\r\n\r\nshort",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_answers_badly_is_not_to_be_started(answer: bytes, learnae_contexts: Contexts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    line, _ = server.accept()
                    with line:
                        line.recv(65_536)
                        line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            found = problems(f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}", learnae_contexts("a"))
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert "answers" in found and "no IPFS daemon answers" not in found and "`ipfs daemon`" not in found
