"""What the user's functions raise keeps the lines of their files, wherever these lie."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import learnae
from learnae.errors import EntryError
from learnae.plugins.calls import theirs

BESIDE = Path(learnae.__file__).parent


def told(path: Path | str) -> str:
    """What is told of an error in that file, of which we ask a function."""
    there = {"theirs": theirs}
    exec(compile("def loss():\n    raise ValueError('mine')\n", str(path), "exec"), there)
    ours = "with theirs('loss()', 'computing the loss'):\n    loss()\n"
    with pytest.raises(EntryError) as caught:
        exec(compile(ours, str(BESIDE / "trainer" / "loop.py"), "exec"), there)
    return caught.value.lines


@pytest.mark.parametrize(
    "path",
    [
        BESIDE.with_name("learnae-runs") / "train.py",
        BESIDE.with_name("learnae_mine.py"),
        Path(importlib.__file__).parent.with_name("importlib_mine") / "train.py",
        Path("importlib") / "train.py",
        "<frozen_layers>",
    ],
    ids=str,
)
def test_a_file_whose_name_begins_as_ours_does_is_theirs(path: Path | str) -> None:
    assert told(path).splitlines()[0].strip() == f'File "{path}", line 2, in loss'


@pytest.mark.parametrize("path", [BESIDE / "demo" / "train.py", Path(importlib.__file__), "<frozen importlib._bootstrap>"], ids=str)
def test_our_own_lines_and_those_of_imports_are_left_out(path: Path | str) -> None:
    assert told(path) == ""
