from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from learnae.errors import ConfigError
from learnae.identity import homes
from learnae.identity.homes import Home, claim, claim_free, holders

CLAIM = "import sys; from pathlib import Path; from learnae.identity.homes import claim; home = claim(Path(sys.argv[1])); "
HOLD = CLAIM + "print('ready', flush=True); sys.stdin.read()"
INHERIT = (
    "import sys; from pathlib import Path; from learnae.identity.homes import Home; "
    "home = Home.inherit(Path(sys.argv[1]), int(sys.argv[2])); print('ready', flush=True); sys.stdin.read()"
)


def start(script: str, *arguments: object, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    """Run a script that prints "ready" and lives until its input ends; returns when it is ready."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_home_is_made_and_names_its_files(tmp_path: Path) -> None:
    with claim(tmp_path / "a" / "home") as home:
        assert home.path.stat().st_mode & 0o777 == 0o700
        assert home.key_path == home.path / "key"
        assert home.history_path.parent == home.path
        assert holders(home.path) == (os.getpid(),)


def test_nodes_that_have_ended_are_named_no_longer(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with claim(tmp_path) as home:
        with (tmp_path / "lock").open("a") as file:
            file.write(f"{ended.pid}\n" * 1000)
        Home.inherit(tmp_path, os.dup(home.lock_fd)).close()
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_locked_home_is_an_error_that_names_the_process(tmp_path: Path) -> None:
    with claim(tmp_path), pytest.raises(ConfigError, match=rf"another peer uses this home \(process {os.getpid()}\)"):
        claim(tmp_path)


def test_a_home_is_free_again_once_closed(tmp_path: Path) -> None:
    claim(tmp_path).close()
    home = claim(tmp_path)
    home.close()
    home.close()


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    other = start(HOLD, tmp_path)
    try:
        with pytest.raises(ConfigError, match=rf"\(process {other.pid}\)"):
            claim(tmp_path)
    finally:
        end(other)
    with claim(tmp_path):
        assert holders(tmp_path) == (os.getpid(),)


def test_a_claim_can_wait_for_another_peer_to_leave(tmp_path: Path) -> None:
    other = start(CLAIM + "print('ready', flush=True); sys.stdin.read(1); home.close(); sys.stdin.read()", tmp_path)
    try:
        assert other.stdin is not None
        other.stdin.write("x")
        other.stdin.flush()
        claim(tmp_path, wait_seconds=60).close()
    finally:
        end(other)


def test_the_lock_lives_while_the_child_that_inherited_it_lives(tmp_path: Path) -> None:
    home = claim(tmp_path)
    node = start(INHERIT, tmp_path, home.lock_fd, pass_fds=(home.lock_fd,))
    try:
        assert set(holders(tmp_path)) == {os.getpid(), node.pid}
        home.close()
        with pytest.raises(ConfigError, match=str(node.pid)):
            claim(tmp_path)
    finally:
        end(node)
    claim(tmp_path).close()


def test_the_lock_lives_on_when_the_child_is_killed(tmp_path: Path) -> None:
    with claim(tmp_path) as home:
        end(start(INHERIT, tmp_path, home.lock_fd, pass_fds=(home.lock_fd,)))
        with pytest.raises(ConfigError, match=rf"\(process {os.getpid()}\)"):
            claim(tmp_path)
        end(start(INHERIT, tmp_path, home.lock_fd, pass_fds=(home.lock_fd,)))  # a node that is started again


def test_the_lock_outlives_a_killed_parent_while_its_child_lives(tmp_path: Path) -> None:
    parent_script = (
        CLAIM + "import subprocess; child = subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1], str(home.lock_fd)], "
        "pass_fds=[home.lock_fd], stdin=0, stdout=subprocess.PIPE, text=True); child.stdout.readline(); "
        "print('ready', flush=True); child.wait()"
    )
    parent = start(parent_script, tmp_path, INHERIT)
    try:
        parent.kill()
        parent.wait()
        (child,) = holders(tmp_path)
        with pytest.raises(ConfigError, match=str(child)):
            claim(tmp_path)
    finally:
        parent.communicate()  # closes the child's input, at which it ends
    claim(tmp_path, wait_seconds=60).close()


def test_a_descriptor_of_something_else_is_refused(tmp_path: Path) -> None:
    with claim(tmp_path / "one") as one, claim(tmp_path / "two") as two:
        with pytest.raises(ConfigError, match="not of its lock"):
            Home.inherit(one.path, two.lock_fd)
        stranger = os.open(one.path / "lock", os.O_RDWR)  # of the right file, but opened anew: it does not hold the lock
        with pytest.raises(ConfigError, match="another peer uses this home"):
            Home.inherit(one.path, stranger)
        os.close(stranger)


def test_a_closed_descriptor_is_a_config_error(tmp_path: Path) -> None:
    home = claim(tmp_path)
    fd = home.lock_fd
    home.close()
    with pytest.raises(ConfigError):
        Home.inherit(tmp_path, fd)


def test_the_lock_is_not_inherited_unless_handed_over(tmp_path: Path) -> None:
    with claim(tmp_path) as home:
        assert not os.get_inheritable(home.lock_fd)


def test_free_homes_are_counted_up_and_used_again(tmp_path: Path) -> None:
    first, second = claim_free(tmp_path / "state"), claim_free(tmp_path / "state")
    assert (first.path.name, second.path.name) == ("peer-1", "peer-2")
    first.close()
    with claim_free(tmp_path / "state") as again:
        assert again.path.name == "peer-1"
    second.close()


def test_a_home_whose_folder_was_removed_can_be_claimed_anew(tmp_path: Path) -> None:
    old = claim(tmp_path / "home")
    (tmp_path / "home" / "lock").unlink()
    with claim(tmp_path / "home") as new:
        assert new.path == old.path
    old.close()


def test_a_lock_that_was_removed_while_it_was_taken_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, removals = fcntl.flock, [tmp_path / "lock"]

    def remove_first(fd: int, operation: int) -> None:
        while removals:
            removals.pop().unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with claim(tmp_path), pytest.raises(ConfigError, match=str(os.getpid())):
        claim(tmp_path)


def test_who_was_here_before_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1\n" * 9)
    with claim(tmp_path):
        assert holders(tmp_path) == (os.getpid(),)


def test_a_folder_that_cannot_be_used_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "lock").mkdir()
    for path in (tmp_path / "file", tmp_path / "file" / "home", tmp_path / "taken"):
        with pytest.raises(ConfigError, match=rf"{re.escape(str(path))}.*\(.+\)"):
            claim(path)


def test_a_claim_that_is_interrupted_leaves_the_home_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(fd: int, pids: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(homes, "_name", interrupted)
        with pytest.raises(KeyboardInterrupt):
            claim(tmp_path)
    claim(tmp_path).close()
