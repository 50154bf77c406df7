"""What is said of a daemon of the peer's own before it runs, and while it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from learnae import ConfigError, UnavailableError
from learnae.cli.main import main
from learnae.lowlevel import SwarmKey
from learnae.testing.context import make_context
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


def storage(home: Path, *, key: bytes | None = b"1" * 32, **options: Any) -> IpfsStorage:
    return IpfsStorage(IpfsStorageOptions(**{"listen": LOOPBACK, **options}), make_context(home, secret=lambda purpose: key))


def program(path: Path, says: str) -> str:
    path.write_text(f'#!/bin/sh\necho "{says}"\n')
    path.chmod(0o700)
    return str(path)


def test_all_is_well_with_a_kubo_and_no_repo_yet(kubo_program: str, kubo_version: str, tmp_path: Path) -> None:
    about, network = trio.run(storage(tmp_path, program=kubo_program).check)
    assert f"Kubo {kubo_version}" in about
    assert "private network of this swarm" in network
    assert list(tmp_path.iterdir()) == []


def test_networks_that_others_see_are_told(kubo_program: str, tmp_path: Path) -> None:
    assert "can fetch blocks" in trio.run(storage(tmp_path, key=None, program=kubo_program).check)[-1]
    assert "can be seen by anybody" in trio.run(storage(tmp_path, public=True, program=kubo_program).check)[-1]


@pytest.mark.parametrize(
    ("says", "told"),
    [("0.30.1", "Kubo 0.30.1, which is too old"), ("hello", "is no Kubo"), ("0.38", "is no Kubo")],
)
def test_a_program_that_will_not_do_is_told(says: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"storage\.program: .*{told}.*"):
        trio.run(storage(tmp_path / "home", program=program(tmp_path / "ipfs", says)).check)


def test_a_program_that_is_not_there_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no program no-such-kubo: install Kubo"):
        trio.run(storage(tmp_path, program="no-such-kubo").check)


def test_check_says_that_a_file_starts_a_program_before_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "evil", f"$(touch {tmp_path}/ran)0.40.1")
    (tmp_path / "learnae.toml").write_text('[swarm]\nopen = true\n[[storage]]\nuse = "ipfs"\nprogram = "./evil"\n')
    monkeypatch.chdir(tmp_path)
    said: list[tuple[str, bool]] = []
    monkeypatch.setattr("learnae.cli.check.print_result", lambda *lines: said.extend((line, (tmp_path / "ran").exists()) for line in lines))
    main(["check", "learnae.toml"])
    assert [ran for line, ran in said if "./evil" in line and "is a program" in line] == [False] and (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    assert main(["check", "--no-code", "learnae.toml"]) == 0 and not (tmp_path / "ran").exists()
    assert any("left out" in line and "./evil" in line for line, _ in said), capsys.readouterr()


def test_no_plugin_of_kubo_that_lies_in_a_home_is_loaded_by_a_check(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    tool = program(tmp_path / "ipfs", f"$(ls -A $IPFS_PATH >{asked})0.40.1")
    home = storage(tmp_path / "home", program=tool)
    repo = home._repo.folder
    (repo / "plugins").mkdir(parents=True, exist_ok=True)
    trio.run(home.check)
    assert asked.read_text() == "" and list(repo.iterdir())


def test_a_newer_version_is_remarked(tmp_path: Path) -> None:
    assert "newer than what is known" in trio.run(storage(tmp_path, program=program(tmp_path / "ipfs", "0.50.0-rc1")).check)[0]


async def test_a_daemon_that_runs_is_told_and_a_repo_that_others_hold_is_a_problem(kubo_program: str, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    async with storage(tmp_path, program=kubo_program):
        assert f"its daemon runs as process {repo.holder}" in await storage(tmp_path, program=kubo_program).check()
        (repo.folder / "daemon.pid").unlink()
        with pytest.raises(ConfigError, match=f"locked by process {repo.holder}.*end that process"):
            await storage(tmp_path, program=kubo_program).check()


def test_the_network_key_of_a_swarm_is_written_for_daemons_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text(SwarmKey.generate().text())
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "club"\nkey_file = "key"\n')
    assert main(["ipfs", "swarm-key", str(tmp_path / "learnae.toml"), str(tmp_path / "swarm.key")]) == 0
    assert (tmp_path / "swarm.key").read_text().startswith("/key/swarm/psk/1.0.0/\n/base16/\n")
    assert (tmp_path / "swarm.key").stat().st_mode & 0o777 == 0o600
    assert main(["ipfs", "swarm-key", str(tmp_path / "learnae.toml"), str(tmp_path / "swarm.key")]) == 2
    assert "never written over" in capsys.readouterr().err


def test_a_swarm_without_a_key_has_no_network_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "club"\n')
    assert main(["ipfs", "swarm-key", str(tmp_path / "learnae.toml"), str(tmp_path / "swarm.key")]) == 2
    assert "no private network" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init", "daemon"])
def test_what_a_daemon_says_when_it_does_not_start_reaches_no_terminal_raw(command: str, tmp_path: Path) -> None:
    evil = "printf '\\033[2J\\007\\342\\200\\256no room\\n' >&2; exit 1"
    fake = tmp_path / "ipfs"
    fake.write_text(f'#!/bin/sh\n[ "$1" = {command} ] && {{ {evil}; }}\nmkdir -p "$IPFS_PATH"; echo {{}} > "$IPFS_PATH/config"\n')
    fake.chmod(0o700)

    async def enter() -> None:
        async with storage(tmp_path / "home", program=str(fake)):
            pass

    with pytest.raises(UnavailableError, match="no room") as caught:
        trio.run(enter)
    assert str(caught.value).isprintable()


def test_the_old_name_of_the_command_runs_it_and_says_the_new_one(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("learnae-ipfs")), "swarm-key", "no.toml", "swarm.key"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "`learnae ipfs`" in done.stderr and "no.toml" in done.stderr
