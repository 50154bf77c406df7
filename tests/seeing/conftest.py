"""Homes as peers leave them, written by the history itself, and the command on them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from learnae.cli.main import main
from learnae.config.saved_config import FILE
from learnae.identity.keys import Identity
from learnae.node.contributions import Contribution
from learnae.node.history import EquivocationProof, History, PeerRecord, PublishedUpdate
from learnae.node.history_reader import Sighting
from learnae.observations import RoundReport, UpdateVerdict
from learnae.records import Cid, PeerId


def root(letter: str) -> Cid:
    return Cid("bafyrei" + letter * 52)


@attrs.define
class Lived:
    """The home of a peer that has made 41 rounds, merged Alice's update 7 in the last, and published one update of its own."""

    alice: ClassVar = PeerId("a11c" + "0" * 60)
    bob: ClassVar = PeerId("b0b0" + "0" * 60)
    lineage: ClassVar = b"lineage1"
    other_lineage: ClassVar = b"lineage2"
    own_root: ClassVar = root("o")

    path: Path
    own: PeerId

    def open(self) -> History:
        return History.open(self.path / "history.sqlite")

    def verdict(self, peer: PeerId = alice, *, round: int = 41, **changes: Any) -> UpdateVerdict:
        """A plain success, but for the changes."""
        return attrs.evolve(
            UpdateVerdict(round=round, peer=peer, number=7, root=root("a"), merged=True, weight=1.0, scale=1.0, stage="merge", reason=""),
            **changes,
        )

    def sighting(self, peer: PeerId = alice, **changes: Any) -> Sighting:
        """Three seconds ago, live, with an update that was not fetched yet."""
        return attrs.evolve(Sighting(peer, time.time() - 3, 41, True, 8, root("n"), self.lineage, 900, False, b"shapes 1", 1000), **changes)

    def happened(
        self, *verdicts: UpdateVerdict, round: int = 41, given: Mapping[PeerId, Contribution] | None = None, **changes: Any
    ) -> Lived:
        merged = sum(one.merged for one in verdicts)
        report = RoundReport(
            round=round,
            seconds=0.5,
            lineage=self.lineage,
            age=820,
            published=self.own_root,
            published_bytes=1500,
            fetched_bytes=3000,
            heard=2,
            chosen=len(verdicts),
            merged=merged,
            refused=len(verdicts) - merged,
            failed=0,
            outcome="merged",
            verdicts=verdicts,
        )
        with self.open() as history:
            history.add_round(attrs.evolve(report, **changes), given)
        return self

    def heard(
        self,
        *sightings: Sighting,
        records: dict[PeerId, PeerRecord] | None = None,
        counts: dict[str, int] | None = None,
        proofs: Iterable[EquivocationProof] = (),
    ) -> Lived:
        with self.open() as history:
            history.save_peers({}, records or {}, counts or {}, proofs, sightings)
        return self

    def configured(self, **tables: Any) -> Lived:
        document = {"swarm": {"name": "digits"}, **tables}
        (self.path / FILE).write_text(json.dumps({"folder": str(self.path), "config": document}))
        return self


@pytest.fixture
def lived(tmp_path: Path) -> Callable[..., Lived]:
    """Makes such a home in the test's folder."""

    def make(place: str = "home") -> Lived:
        folder = tmp_path / place
        folder.mkdir(parents=True)
        home = Lived(folder, Identity.load_or_create(folder / "key").peer).configured()
        home.happened(home.verdict())
        with home.open() as history:
            history.add_published(PublishedUpdate(3, home.own_root, home.lineage, 820, 100, 2_000_000, "int8", b"shapes 1"))
            history.save_lineage_state(home.lineage, 41, 300.0)
        return home

    return make


@attrs.frozen
class Answer:
    """What a command showed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """In one line: a table breaks its own ones."""
        return " ".join(self.out.split())


@pytest.fixture
def learnae(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """The command, in this process, in the test's folder, on a screen of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: Any) -> Answer:
        code = main([str(word) for word in words])
        shown = capsys.readouterr()
        return Answer(code, shown.out, shown.err)

    return run
