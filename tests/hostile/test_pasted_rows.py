"""What is pasted from a terminal of any width: a command that a line of ours has in it is read by a shell as it was meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.outlets import _broken
from learnae.texts import in_shell
from tests.hostile.test_long_lines import on_a_terminal

PATHS = st.text(st.sampled_from("ab/ .,;'\"$`\\\n\x1b\u202e漢é"), min_size=1, max_size=120)
WIDTHS = st.integers(20, 100)


def arguments(command: str) -> list[str]:
    """As a shell reads them. What it would run besides is not found."""
    script = f'chmod() {{ printf "%s\\0" "$@"; }}; PATH=/nowhere\n{command}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@given(path=PATHS, width=WIDTHS, before=st.sampled_from(["", "peer.home x: others may write to it (mode 777): ", "by `"]))
def test_a_command_is_read_as_it_was_meant_at_any_width(path: str, width: int, before: str) -> None:
    after = {"by `": "` and so on and so on"}.get(before, "; if others may have read it, change the key")
    rows = _broken(f"{before}chmod 600 {in_shell(path)} /second{after}", width)
    command = rows[rows.index("chmod") :]
    end = command.rindex("`" if after.startswith("`") else "; if" if "; if" in command else ";")
    assert arguments(command[:end]) == ["600", path, "/second"]


@given(path=PATHS, width=WIDTHS)
def test_a_path_alone_is_read_as_it_was_meant_at_any_width(path: str, width: int) -> None:
    quoted = in_shell(path)
    rows = _broken(f"    {quoted}", width)
    if quoted == path and "\\" not in rows and "'" not in rows:
        assert rows.strip() == path
    else:
        assert arguments(f"chmod {rows}") == [path]


@given(text=st.text(st.sampled_from("ab `'\"$\\;,chmod cd 漢"), max_size=300), width=WIDTHS)
def test_no_row_begins_at_the_left_but_behind_a_quotation_mark(text: str, width: int) -> None:
    rows = _broken(text, width).split("\n")
    assert all(row.startswith((" ", "'", '"', "$'")) for row in rows[1:])


def test_what_a_command_says_of_rights_is_pasted_whole(tmp_path: Path) -> None:
    key = tmp_path / "folder" / ("deep" * 20) / "on the way" / "swarm.key"
    key.parent.mkdir(parents=True)
    key.write_text("0" * 64)
    key.chmod(0o644)
    (tmp_path / "learnae.toml").write_text(f'[swarm]\nkey_file = "{key}"\n')
    said = "\n".join(on_a_terminal(["check", "--no-code", str(tmp_path / "learnae.toml")]))
    command = said[said.index("chmod 600") : said.rindex(";")]
    subprocess.run(["bash", "-c", command], check=True, timeout=30)
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("width", range(20, 81))
def test_a_command_that_fits_into_a_row_gets_one(width: int) -> None:
    rows = _broken(f"the folder {'x ' * 50} is wrong: chmod go-w /a/b; then begin again", width).split("\n")
    assert any("chmod go-w /a/b" in row for row in rows)
