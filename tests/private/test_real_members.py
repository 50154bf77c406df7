"""Two members with real nodes, and a stranger on the same folders."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

import learnae
from learnae.identity.swarms import SwarmKey
from learnae.node.history import History
from tests.support.random_walk import RandomWalker, train_until


def member(seed: int, folder: Path, stack: ExitStack) -> RandomWalker:
    document = {
        "swarm": {"name": "sparrows", "key_env": "SPARROWS_KEY"},
        "storage": {"use": "directory", "path": str(folder / "shared" / "store")},
        "announcer": {"use": "directory", "path": str(folder / "shared" / "board")},
    }
    settings = {"overrides": ["train.local_steps=5", "join.wait_seconds=0.5"], "log": {"level": "warning", "style": "json"}}
    home = folder / f"home-{seed}"
    return RandomWalker(seed, lambda model: stack.enter_context(learnae.join(model, config=document, home=home, **settings)))


def strew_noise(board: Path, count: int) -> None:
    (channel,) = board.iterdir()
    seen = [path.read_bytes() for path in channel.iterdir() if re.fullmatch("[0-9a-f]{32}", path.name)]
    for number in range(count):
        draft = board / "draft"
        draft.write_bytes(os.urandom(300) if number % 2 else seen[number % len(seen)][:-1])
        draft.replace(channel / f"{number:032x}")


def command_lines() -> list[str]:
    return [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]


@pytest.mark.slow
def test_members_train_through_the_noise_of_a_stranger_who_learns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key = SwarmKey.generate().text()
    monkeypatch.setenv("SPARROWS_KEY", key)
    shared = tmp_path / "shared"
    shared.mkdir()
    with ExitStack() as stack:
        one, other = member(1, tmp_path, stack), member(2, tmp_path, stack)
        train_until(lambda: one.swarm.status.merged >= 2 and other.swarm.status.merged >= 2, one, other)
        strew_noise(shared / "board", 24)
        merged = one.swarm.status.merged
        train_until(lambda: one.swarm.status.merged >= merged + 3, one, other)
        shown = command_lines()
        peers = {one.swarm.peer, other.swarm.peer}
        lineages = {one.swarm.status.lineage, other.swarm.status.lineage}
    assert len(lineages) == 1 and lineages != {b""}

    secret = key.removeprefix("learnae-key-1-").encode()
    bodies = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    outside = b"\0".join(
        [*(path.read_bytes() for path in shared.rglob("*") if path.is_file()), *(str(path).encode() for path in shared.rglob("*"))]
    )
    assert not any(secret in body for body in bodies)
    for sign in (b"sparrows", b"weight", b"bias", b"float32", b"int8", *(peer.encode() for peer in peers), *map(bytes.fromhex, peers)):
        assert sign not in outside

    said = capfd.readouterr().err
    assert shown and key not in " ".join(shown) + said
    for peer in (one, other):
        history = History.open(peer.swarm.home / "history.sqlite")
        assert history.counts()["seal"] >= 24
        history.close()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    told = {(line["own"], line["count"]) for line in lines if line["event"] == "messages.refused" and line["reason"] == "seal"}
    assert told == {(peer[:8], count) for peer in peers for count in (1, 10)}


def test_a_trainer_whose_key_is_missing_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(learnae.ConfigError, match=r"SPARROWS_KEY is not set \(set it before the start"), ExitStack() as stack:
        member(1, tmp_path, stack)
    assert not (tmp_path / "home-1").exists()
