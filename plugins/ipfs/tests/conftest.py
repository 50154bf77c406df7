"""Real daemons: loopback only, no bootstrap, no mDNS, ended by their own pid."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from learnae import Context
from learnae.testing.context import make_context
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

ROOT = Path(__file__).parents[3]
KUBO = os.environ.get("LEARNAE_KUBO")  # read now: tests do not see the variables of Learnae
START_SECONDS = 60.0
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
KEYS = {"one": b"1" * 32, "two": b"2" * 32}


@attrs.define
class Kubo:
    """A daemon on a repo of its own."""

    program: str
    repo: Path
    private: str | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Without the state folder of the test that starts it: a daemon of the session outlives that test."""
        ours = {"IPFS_PATH": str(self.repo), "IPFS_TELEMETRY": "off", **({"LIBP2P_FORCE_PNET": "1"} if self.private else {})}
        return {**{name: value for name, value in os.environ.items() if name != "XDG_STATE_HOME"}, **ours}

    @property
    def address(self) -> str:
        return (self.repo / "api").read_text().strip()

    def ipfs(self, *arguments: str, data: bytes = b"") -> str:
        command = [self.program, *arguments]
        return (
            subprocess.run(command, env=self.environment, input=data, check=True, capture_output=True, timeout=60).stdout.decode().strip()
        )

    def start(self) -> Kubo:
        if not self.repo.exists():
            self.ipfs("init", "--profile=test")
            if self.private:
                (self.repo / "swarm.key").write_text(f"/key/swarm/psk/1.0.0/\n/base16/\n{self.private}\n")
        (self.repo / "api").unlink(missing_ok=True)
        command = [self.program, "daemon"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end, "the daemon did not start"
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        if not (self.repo / "api").exists():
            return False
        command = [self.program, "--api", self.address, "id"]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def kubo_program() -> str:
    for candidate in (KUBO, str(ROOT / ".nodes" / "ipfs"), shutil.which("ipfs")):
        if candidate and Path(candidate).exists():
            return candidate
    pytest.skip("needs go: apt-get install golang, then `make nodes`")


@pytest.fixture(scope="session")
def kubo_version(kubo_program: str) -> str:
    """Three numbers, without what may follow them."""
    said = subprocess.run([kubo_program, "version", "--number"], check=True, capture_output=True, timeout=60).stdout.decode()
    return said.strip().split("-")[0]


@pytest.fixture(scope="session")
def shared_kubo(kubo_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    """One for all tests that leave it as it was."""
    kubo = Kubo(kubo_program, tmp_path_factory.mktemp("kubo") / "repo")
    try:
        yield kubo.start()
    finally:
        kubo.kill()


@pytest.fixture
def new_kubo(kubo_program: str, tmp_path: Path) -> Iterator[Callable[..., Kubo]]:
    """Starts daemons that only this test uses."""
    started: list[Kubo] = []

    def start(private: str | None = None) -> Kubo:
        started.append(Kubo(kubo_program, tmp_path / f"repo-{len(started)}", private))
        return started[-1].start()

    try:
        yield start
    finally:
        for kubo in started:
            kubo.kill()


@pytest.fixture
def at(learnae_contexts: Callable[[str], Context]) -> Callable[..., IpfsStorage]:
    """Storages at a daemon, or at an address, each for the peer of that name."""

    def make(where: Kubo | str, peer: str = "a", **options: Any) -> IpfsStorage:
        address = where if isinstance(where, str) else where.address
        return IpfsStorage(IpfsStorageOptions(address=address, **{"search_seconds": 1.0, **options}), learnae_contexts(peer))

    return make


@pytest.fixture
def own(kubo_program: str, tmp_path: Path) -> Callable[..., IpfsStorage]:
    """Storages with a daemon of their own, each in the home of the peer that it is for."""

    def make(peer: str = "a", *, key: str | None = "one", **options: Any) -> IpfsStorage:
        chosen = {"program": kubo_program, "listen": LOOPBACK, "search_seconds": 1.0, **options}
        secret = KEYS[key] if key else None
        return IpfsStorage(IpfsStorageOptions(**chosen), make_context(tmp_path / peer, peer=peer, secret=lambda purpose: secret))

    return make
