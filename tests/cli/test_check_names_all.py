"""`learnae check` names everything that is wrong with a file in one pass, of whatever sort it is, and then nothing once it is mended."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.identity.homes import claim

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """On a file of this text: exit code, results, complaints. Fails if anything was left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*os.sys.path])  # type: ignore[attr-defined]

    def run(text: str, *arguments: str) -> tuple[int, str, str]:
        (tmp_path / "learnae.toml").write_text(text)
        before = sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts)
        code = main(["check", "learnae.toml", *arguments])
        assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts) == before
        return code, *capsys.readouterr()

    return run


def keys(err: str) -> list[str]:
    """Where the problems stand."""
    return [line.strip().partition(": ")[0] for line in err.splitlines()[1:] if re.match("  [^ ]", line)]


def test_eight_problems_of_eight_sorts(check: Check, tmp_path: Path) -> None:
    (tmp_path / "occupied").touch()
    (tmp_path / "broken_rule.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "train_eight.py").write_text("def make_trainer():\n    pass\n")
    code, out, err = check(
        """
[swarm]
naem = "digits"                    # 1: no such key
key_env = "NOBODY_HAS_SET_THIS"    # 2: a variable that is not set
[train]
local_steps = "20"                 # 3: the wrong type
patience = 1.5                     # 4: out of range
entry = "train_eight:make_traner"  # 5: not there
[[storage]]
use = "directory"
path = "occupied/blocks"           # 6: cannot be used
[selector]
use = "unifrom"                    # 7: no such strategy
[merge]
use = "broken_rule:Rule"           # 8: cannot be imported
"""
    )
    assert code == 2 and "is a program" in out and len(out.splitlines()) == 1
    assert err.startswith("8 problems to mend:\n") and "Traceback" not in err
    assert sorted(keys(err)) == [
        "merge.use", "selector.use", "storage.path", "swarm.key_env", "swarm.naem", "train.entry", "train.local_steps", "train.patience",
    ]  # fmt: skip
    for said in ("occupied", 'did you mean "make_trainer"', 'did you mean "uniform"', "no_such_module_anywhere"):
        assert said in err


def test_another_eight_of_other_sorts(check: Check, tmp_path: Path) -> None:
    (tmp_path / "train_other.py").write_text("def make_trainer(:\n")
    (tmp_path / "odd.py").write_text("from learnae import Gate\nclass Odd(Gate):\n    pass\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "key").write_text("no key\n")
    (tmp_path / "home" / "history.sqlite").write_text("no database, but text that is long enough to be looked into as one\n" * 3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = check(
            f"""
traning = 3                                    # 1: outside of all tables
[peer]
home = "home"                                  # 2: its key is none;  3: its history is none
allow = ["abc"]                                # 4: no public key
[train]
entry = "train_other:make_trainer"             # 5: cannot be compiled
[metrics]
prometheus = "127.0.0.1:{taken.getsockname()[1]}"  # 6: somebody listens there
[[announcer]]
use = "directory"
poll_seconds = 0                               # 7: an option out of range
[[gate]]
use = "odd:Odd"                                # 8: cannot be made
"""
        )
    assert code == 2 and "is a program" in out and len(out.splitlines()) == 1
    assert err.startswith("8 problems to mend:\n") and "Traceback" not in err
    assert sorted(key.removeprefix(f"{tmp_path}/") for key in keys(err)) == [
        "announcer[0].poll_seconds", "gate[0].use", "home/key", "metrics.prometheus", "peer.allow", "peer.home", "train.entry", "traning",
    ]  # fmt: skip


def test_a_key_that_is_wrong_in_its_table_hides_neither_the_entry_nor_the_folders(check: Check, tmp_path: Path) -> None:
    (tmp_path / "occupied").touch()
    _, _, err = check('[train]\nlocal_stpes = 5\nentry = "nowhere:make"\n[peer]\nhmoe = "x"\nhome = "occupied/home"\n')
    assert sorted(keys(err)) == ["peer.hmoe", "peer.home", "train.entry", "train.local_stpes"]


def test_what_follows_from_a_problem_alone_is_no_problem_of_its_own(check: Check) -> None:
    _, _, err = check(
        '[join]\nwait_seconds = "2"\nsettle_seconds = 5\n[peer]\nrelay = true\n'
        '[[storage]]\nuse = "directroy"\n[[storage]]\nuse = "directory"\n'
    )
    assert sorted(keys(err)) == ["join.wait_seconds", "storage[0].use"]


def test_each_of_several_broken_plugins_is_named_and_no_file_is_blamed(check: Check, tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}_plug.py").write_text(f"raise RuntimeError('{name}')\n")
    code, _, err = check('[merge]\nuse = "first_plug:A"\n[codec]\nuse = "second_plug:B"\n[[gate]]\nuse = "third_plug:C"\n')
    assert code == 3
    assert err.startswith("3 problems") and all(
        name in err for name in ("RuntimeError: first", "RuntimeError: second", "RuntimeError: third")
    )


def test_problems_from_the_command_line_are_told_as_such(check: Check) -> None:
    code, _, err = check("", "--set", "train.local_steps=no", "--set", "nonsense", "--set", "merge.use=averege")
    assert code == 2
    assert [key.partition(" ")[0] for key in keys(err)] == ["--set"] * 3


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("async def make_trainer(): pass", "async"),
        ("def make_trainer(seed): pass", "'seed'"),
        ("def make_trainer(*, seed): pass", "'seed'"),
        ("class make_trainer:\n    def __init__(self, seed): pass", "'seed'"),
    ],
)
def test_an_entry_that_could_not_be_called_is_a_problem_beside_the_others(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, words: str
) -> None:
    monkeypatch.delitem(os.sys.modules, "train_uncalled", raising=False)  # type: ignore[attr-defined]
    (tmp_path / "train_uncalled.py").write_text(function)
    code, _, err = check('[train]\nentry = "train_uncalled:make_trainer"\nlocal_steps = 0\n')
    assert (code, sorted(keys(err))) == (2, ["train.entry", "train.local_steps"])
    assert words in err


@pytest.mark.parametrize("function", ["def make_trainer(seed=1, *rest, **more): pass", "make_trainer = dict", "make_trainer = lambda: 3"])
def test_an_entry_that_can_be_called_passes(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.delitem(os.sys.modules, "train_called", raising=False)  # type: ignore[attr-defined]
    (tmp_path / "train_called.py").write_text(function)
    code, out, _ = check('[train]\nentry = "train_called:make_trainer"\n')
    assert code == 0 and "the entry train_called:make_trainer" in out


@pytest.mark.parametrize("long", ["x" * 300, "a/" * 3000], ids=["a name", "a path"])
def test_a_path_that_is_too_long_for_the_system_is_named_and_hides_nothing(check: Check, long: str) -> None:
    services = "".join(f'[[{kind}]]\nuse = "directory"\npath = "{long}"\n' for kind in ("storage", "announcer"))
    code, _, err = check(f'[peer]\nhome = "{long}"\n{services}')
    assert (code, keys(err)) == (2, ["peer.home", "storage.path", "announcer.path"]), err


def test_a_home_with_everything_in_order_is_not_changed(check: Check, tmp_path: Path) -> None:
    claim(tmp_path / "home").close()
    code, out, _ = check('[peer]\nhome = "home"\n')
    assert code == 0 and "nobody else uses it" in out


@pytest.mark.parametrize("value", ["[]", '""', "3", "[[]]", "{ use = 3 }", "[1, 2]"])
@pytest.mark.parametrize("table", ["storage", "gate", "merge", "train", "peer", "plugins", "swarm"])
def test_nonsense_in_the_place_of_a_table_is_a_problem_and_never_a_traceback(check: Check, table: str, value: str) -> None:
    code, _, err = check(f"{table} = {value}\n[codec]\nuse = 'nonsuch'\n")
    assert code == 2 and "codec.use" in keys(err) and "Traceback" not in err
