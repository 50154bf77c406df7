"""Whatever somebody types, and wherever the output goes: words and an exit code, never a traceback of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.node.history import History

LONG, BROKEN = "x" * 300, "é\udcff"
WORDS = [
    *("", " ", "nowhere", "folder", "binary", "empty.toml", "bad.toml", "no-tables.toml", "loop", "/", "..", "a/b/c", "binary/x"),
    *("~nobody-here", LONG, BROKEN, "ü", "broken-home", "empty-home", "odd-home", "a11c", "0" * 64, "bafyrei" + "a" * 20, "--", "-"),
    *("/dev/null", "*", "\n", "a\nb"),
]
ABOUT_HOMES = [["status"], ["history"], ["why"], ["deny"], ["allow"], ["rejoin"], ["export", "-o", "m"], ["storage", "clear", "--yes"]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that somebody might name."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "binary": os.urandom(400),
        "empty.toml": b"",
        "bad.toml": b"[[[",
        "no-tables.toml": b"peer = 3\nswarm = 'x'\n",
    }.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, history in {"broken-home": os.urandom(9000), "empty-home": b""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.sqlite").write_bytes(history)
    (tmp_path / "odd-home").mkdir()
    History.open(tmp_path / "odd-home" / "history.sqlite").close()
    (tmp_path / "odd-home" / "config.json").write_text('{"folder": "/x", "config": {"selector": 3, "peer": {"home": 1}, "swarm": []}}')
    return tmp_path


@pytest.fixture
def as_nobody(here: Path) -> Callable[[Callable[[], int]], int]:
    """Do it in a process of a user who owns nothing."""
    for folder in (here, *here.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o755)

    def done(work: Callable[[], int]) -> int:
        work()  # what must be imported is, which nobody might not be able to
        if (child := os.fork()) == 0:
            try:
                os.setgroups([])
                os.setgid(65_534)
                os.setuid(65_534)
                os._exit(work())
            finally:
                os._exit(99)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return done


def no_traceback(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    code = main(list(words))
    said = capsys.readouterr().err
    assert code in (0, 2, 3, 4) and "Traceback" not in said and "bug of Learnae" not in said, (words, said)
    assert code == 0 or said.strip()


@pytest.mark.parametrize("command", [["check"], ["run"], ["new-plugin", "--kind", "gate"], ["key", "--file"], *ABOUT_HOMES], ids=" ".join)
def test_a_command_takes_any_word(here: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for word in WORDS:
        no_traceback(capsys, *command, word)


@pytest.mark.parametrize("command", ["why", "deny", "allow", "rejoin"])
def test_an_order_takes_any_home_and_any_word(here: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for home in ("odd-home", "broken-home", "nowhere"):
        for word in WORDS:
            no_traceback(capsys, command, home, word)


@pytest.mark.parametrize("value", ["x", "-1", "0", "9" * 30, "1e99", ""])
@pytest.mark.parametrize(
    "command", [["history", "--rounds"], ["status", "--peers"], ["why", "--last"], ["run", "empty.toml", "--steps"]], ids=" ".join
)
def test_a_number_may_be_any_word(here: Path, command: list[str], value: str, capsys: pytest.CaptureFixture[str]) -> None:
    no_traceback(capsys, *command, value, *([] if command[0] == "run" else ["odd-home"]))


def learnae(*words: str, **how: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "learnae", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **how.pop("environment", {})}  # type: ignore[dict-item]
    return subprocess.run(command, env=environment, text=True, timeout=60, check=False, **how)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("words", [["plugins"], ["plugins", "--json"], ["key"], ["check", "empty.toml"]], ids=" ".join)
def test_an_output_that_was_closed_is_no_reason_for_a_traceback(here: Path, words: list[str]) -> None:
    done = learnae(*words, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux: elsewhere no device is always full")
@pytest.mark.parametrize("words", [["plugins"], ["plugins", "--json"], ["--help"]], ids=" ".join)
def test_a_full_disk_behind_the_output_is_told_in_a_line(here: Path, words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = learnae(*words, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 4 and "No space left" in done.stderr and "Traceback" not in done.stderr


def test_an_error_that_cannot_be_told_still_has_its_exit_code(here: Path) -> None:
    with open("/dev/full", "w") as full:
        assert learnae("check", "nowhere.toml", stderr=full).returncode == 2
        assert learnae("chekc", stderr=full).returncode == 2


def test_a_folder_that_was_removed_under_ones_feet_is_told(here: Path) -> None:
    gone = here / "gone"
    gone.mkdir()
    done = learnae("status", cwd=gone, stderr=subprocess.PIPE, preexec_fn=gone.rmdir)
    assert done.returncode == 2 and "another one" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "20"}, {"COLUMNS": "1"},
        {"COLUMNS": "x"}, {"TERM": "dumb"}, {"HOME": "", "XDG_STATE_HOME": "relative"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("words", [["plugins"], ["status", "odd-home"], ["check", "empty.toml", "--set", "swarm.name=ü"]], ids=" ".join)
def test_any_environment_will_do(here: Path, words: list[str], environment: dict[str, str]) -> None:
    done = learnae(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, environment=environment)
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes folders of another user")
def test_a_folder_that_may_not_be_looked_into_is_told(here: Path, as_nobody: Callable[..., int]) -> None:
    (here / "closed").mkdir(mode=0o700)
    for word in ("closed", "closed/home", "closed/learnae.toml"):
        for command in (["status"], ["check"], ["init"], ["new-plugin", "--kind", "gate"], ["key", "--file"], ["why"], ["history"]):
            assert as_nobody(lambda words=(*command, word): main(words)) == 2, (command, word)  # type: ignore[misc]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes folders of another user")
@pytest.mark.parametrize("home", ["closed", "closed/home"])
def test_a_file_whose_home_may_not_be_looked_into_is_told(here: Path, home: str, as_nobody: Callable[..., int]) -> None:
    (here / "closed").mkdir(mode=0o700)
    (here / "learnae.toml").write_text(f"""[swarm]\nname = "digits"\n[peer]\nhome = "{here / home}"\n""")
    for words in (["check", "learnae.toml"], *ABOUT_HOMES, ["why", "abcd"], ["deny", "abcd"], ["status", "digits/peer-1"]):
        assert as_nobody(lambda words=words: main(words)) == 2, words  # type: ignore[misc]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes folders of another user")
def test_of_several_homes_those_that_may_not_be_looked_into_are_left_out(here: Path, as_nobody: Callable[..., int]) -> None:
    for name in ("open", "closed"):
        (here / "homes" / name).mkdir(parents=True)
        History.open(here / "homes" / name / "history.sqlite").close()
    (here / "homes" / "closed").chmod(0o700)
    assert as_nobody(lambda: main(["status", "homes"])) == 0
    assert as_nobody(lambda: main(["status", "homes/closed"])) == 2
