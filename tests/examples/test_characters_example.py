"""The character transformer: two peers that read different texts, and the texts that it refuses."""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch

from learnae.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "examples" / "characters"
AT_HAND = [Path(inspect.getfile(module)) for module in (argparse, typing)]  # as good a text as any: 200 kB of Python


@pytest.fixture
def example(monkeypatch):
    """Its modules, imported as `learnae run` does."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in ("model", "texts", "train"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield __import__
    for name in ("model", "texts", "train"):
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_peers_with_different_texts_learn_and_merge_with_adamw_and_one_writes(start):
    peers = [start("characters", "train.local_steps=10", TEXT=str(text)) for text in AT_HAND]
    for said in [peer.until(steps=50) for peer in peers]:
        bits = [moment["metrics"]["bits_per_byte"] for moment in said]
        assert bits[-1] < bits[0] < 6  # before the first step it is about 8
    assert [peer.interrupt() for peer in peers] == [130, 130]
    command = [sys.executable, str(EXAMPLE / "write.py"), str(peers[0].home), "def ", "--count", "20"]
    wrote = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    assert wrote.startswith("def ") and len(wrote) > len("def \n")


def test_a_model_that_knows_nothing_pays_eight_bits_and_one_byte_never_sees_the_next(example):
    model = example("model").Transformer()
    tokens = torch.randint(256, (4, model.context), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 40] = (changed[:, 40] + 1) % 256
    with torch.no_grad():
        before, after = model(tokens), model(changed)
        loss = torch.nn.functional.cross_entropy(before.reshape(-1, 256), tokens.reshape(-1))
    assert before.shape == (4, model.context, 256) and 5.3 < loss < 5.9  # log 256 = 5.55
    assert torch.equal(before[:, :40], after[:, :40]) and not torch.equal(before[:, 40], after[:, 40])
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 1_000_000


def test_a_window_is_followed_by_itself_one_byte_later(example, monkeypatch):
    monkeypatch.setenv("TEXT", "")
    seen, following = example("train").windows(torch.arange(10, dtype=torch.uint8), torch.tensor([0, 5]), 3)
    assert seen.tolist() == [[0, 1, 2], [5, 6, 7]] and following.tolist() == [[1, 2, 3], [6, 7, 8]]


def test_the_last_tenth_of_each_text_is_for_the_examination(example, tmp_path):
    paths = [tmp_path / "one.txt", tmp_path / "two.txt"]
    paths[0].write_text("a" * 90 + "b" * 10)
    paths[1].write_text("c" * 18 + "d" * 2)
    learn, exam = example("texts").read(paths, least=12)
    assert bytes(learn.tolist()) == b"a" * 90 + b"c" * 18 and bytes(exam.tolist()) == b"b" * 10 + b"d" * 2


def test_paths_are_named_in_one_variable(example, monkeypatch):
    monkeypatch.setenv("TEXT", os.pathsep.join(["one.txt", "two.txt"]))
    assert example("texts").named() == [Path("one.txt"), Path("two.txt")]


def test_no_text_is_an_error_with_an_example(example, monkeypatch):
    monkeypatch.delenv("TEXT", raising=False)
    with pytest.raises(ConfigError, match=r"TEXT: names no text .*TEXT=one\.txt"):
        example("texts").named()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"good \xff bad", "not UTF-8 at byte 5"), (b"short", "holds 5 bytes, a tenth"), (None, "cannot be read: No such file")],
)
def test_a_text_that_cannot_be_used_is_named(example, tmp_path, content, says):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"TEXT: .*{says}"):
        example("texts").read([path], least=65)
