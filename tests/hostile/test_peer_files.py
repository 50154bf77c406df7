"""A peer's file that somebody else has written, to hold a command up: each is answered in words, and soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.config.load import read
from learnae.errors import ConfigError

DEEP = ".a" * 20_000
SLOW = {
    "a deep key": f"a{DEEP} = 1\n",
    "a deep key behind a text": f'x = ["""\n"""," ", {{b{DEEP} = 1}}]\n',
    "a deep key in quotes": '"a"' + ' . "b"' * 20_000 + " = 1\n",
    "a deep table": f"[a{DEEP}]\n",
    "a deep list of tables": f"[[a{DEEP}]]\n",
    "many keys below a deep table": f"[a{'.a' * 1000}]\n" + "".join(f"a{number} = 1\n" for number in range(14_000)),
    "a deep key over strange line ends": '"a"' + '."\u2028"' * 20_000 + " = 1\n",
    "keys as deep as may be": f"a{'.a' * 3_100} = 1\n",
    "many deep keys": "".join(f"a{number}{'.a' * 300} = 1\n" for number in range(180)),
    "keys that nobody knows": "".join(f"a{number} = 1\n" for number in range(14_000)),
    "keys that nobody knows in a table": "[peer]\n" + "".join(f"a{number} = 1\n" for number in range(14_000)),
    "tables that nobody knows": "".join(f"[a{number}]\n" for number in range(14_000)),
    "a full file": "".join(f"a{number}=1\n" for number in range(105_000)),
    "strategies": '[[gate]]\nuse = "x"\n' * 6_000,
    "empty strategies": "[[storage]]\n" * 9_000,
    "a long text": f'a = "{"a" * 10_000_000}"\n',
}


@pytest.mark.timeout(30)  # as they were, each took minutes
@pytest.mark.parametrize("command", [("check", "--no-code"), ("check",), ("status",)], ids=" ".join)
@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_no_file_of_a_peer_holds_a_command_up(text: str, command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "learnae.toml"
    file.write_text(text)
    assert main([*command, str(file)]) == 2


@pytest.mark.timeout(30)
def test_as_many_problems_as_a_file_may_have_are_told_soon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "learnae.toml"
    file.write_text("".join(f"a{number} = 1\n" for number in range(900)))
    assert main(["check", "--no-code", str(file)]) == 2
    assert "900" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        f"[[gate]]\nuse = 'x'\nweights = [{', '.join(['0.5'] * 1000)}]\n",
        "a.b.c.d.e.f = 1\n",
        "".join(f"# {'.' * 80}\n" for _ in range(500)),
    ],
    ids=["a list of numbers", "a dotted key", "dots in remarks"],
)
def test_what_an_honest_file_may_hold_is_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "learnae.toml"
    file.write_text(text)
    read(file)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError):
        read(Path("/dev/zero"))
