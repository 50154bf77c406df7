"""A home that somebody gives away: it has lived, and every text in it is hostile."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from learnae.content.cids import dag_cid
from learnae.data.about import LICENCE_CHARACTERS, SOURCE_CHARACTERS
from learnae.data.pool_index import DATA, INDEX, PooledSlice, PoolIndex, encode_index
from learnae.data.schema import CODE, WORD_CHARACTERS, Column, Schema
from learnae.identity.keys import Identity
from learnae.node.contributions import Contribution
from learnae.node.history import EquivocationProof, History, PublishedUpdate
from learnae.node.history_reader import KeptView, Sighting
from learnae.node.views import ContributionView, GivenBy, encode_view
from learnae.observations import RoundReport, UpdateVerdict
from learnae.records import AnnouncementKind, Cid, PeerId
from tests.support.hostile.texts import encodable

ALICE, BOB = PeerId("a11c" + "0" * 60), PeerId("b0b0" + "1" * 60)
ROOT = Cid("bafyrei" + "a" * 52)
LONGEST_NAME = 200


def hostile_home(folder: Path, text: str, *, numbers: bool = False) -> Path:
    """Every text in it is this one, but for Alice's and Bob's keys and one root; with `numbers`, it stands in the place of them too."""
    folder.mkdir(parents=True)
    Identity.load_or_create(folder / "key")
    lineage = b"lineage1"
    with History.open(folder / "history.sqlite") as history:
        refused = UpdateVerdict(
            round=1, peer=ALICE, number=7, root=ROOT, merged=False, weight=1.0, scale=1.0, stage="gate", reason="reason"
        )
        merged = UpdateVerdict(round=1, peer=ALICE, number=6, root=ROOT, merged=True, weight=1.0, scale=0.5, stage="clip", reason="reason")
        history.add_round(
            RoundReport(
                round=1,
                seconds=0.5,
                lineage=lineage,
                age=820,
                published=ROOT,
                published_bytes=1,
                fetched_bytes=1,
                heard=2,
                chosen=2,
                merged=1,
                refused=1,
                failed=0,
                outcome="merged",
                verdicts=(refused, merged),
            )
        )
        history.add_published(PublishedUpdate(3, ROOT, lineage, 820, 100, 2_000_000, "int8", b"shapes 1"))
        history.save_lineage_state(lineage, 41, 300.0)
        sighting = Sighting(ALICE, 1.0, 1, True, 8, ROOT, lineage, 900, False, b"shapes 1", 1000)
        history.save_peers({}, {}, {"reason": 3}, [EquivocationProof(ALICE, AnnouncementKind.UPDATE, 1, b"a", b"b")], [sighting])
        viewer = Identity.generate(b"v" * 32)
        view = ContributionView(b"s" * 16, viewer.peer, 7, (GivenBy(ALICE, 60.0, Contribution(merged=3, weight=2.5, bytes=900)),))
        history.keep_views([KeptView(viewer.peer, 0.0, encode_view(view, viewer))])
        history.orders.end_ask(history.orders.ask_views(), "outcome")
    _give_rows(folder, encodable(text))
    name = encodable(text)[:LONGEST_NAME]
    document = {"swarm": {"name": name}, "peer": {}, "selector": {"use": name}, "storage": [{"use": "directory", "path": name}]}
    (folder / "config.json").write_text(json.dumps({"folder": str(folder), "config": document}))
    _overwrite(folder / "history.sqlite", encodable(text), numbers=numbers)
    return folder


def _give_rows(folder: Path, text: str) -> None:
    """What stands in the index of the pool, as far as it is printable: all else is refused as damage. There is no file of it."""
    text = "".join(character for character in text if character.isprintable()) or "text"
    schema = Schema((Column("x", "float32", ()), Column("y", CODE, (), ("one",))), "y")
    said: Any = {"labels": {text[:WORD_CHARACTERS]: 3}, "licence": text[:LICENCE_CHARACTERS], "source": text[:SOURCE_CHARACTERS]}
    one = PooledSlice(root=dag_cid(b"a slice"), schema=schema, rows=3, bytes=900, providers=(ALICE,), **said)
    (folder / DATA).mkdir(mode=0o700)
    (folder / DATA / INDEX).write_bytes(encode_index(PoolIndex((one,), (BOB,))))


def _overwrite(file: Path, text: str, *, numbers: bool) -> None:
    """What a command searches by stays, and what has to be unique."""
    db = sqlite3.connect(file)
    with db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, name, kind, _, _, primary in db.execute(f"PRAGMA table_info({table})").fetchall():
                if name not in ("peer", "root") and not primary and (kind == "TEXT" or (numbers and kind in ("INTEGER", "REAL"))):
                    db.execute(f"UPDATE OR IGNORE {table} SET {name} = ?", (text,))
        db.execute("INSERT INTO counts VALUES (?, 1)", (text,))
        db.execute("INSERT OR REPLACE INTO totals VALUES (?, 1)", (text,))
        db.execute("INSERT INTO denied VALUES (?, 1)", (text,))
        db.execute("INSERT INTO rejoin VALUES (1, x'00', 1, ?)", (text,))
        db.execute(
            "INSERT INTO peers (peer, last_tried, failures, ever_accepted, fetched_number, refused) VALUES (?, 1, 0, 0, 0, ?)", (BOB, text)
        )
        db.execute("INSERT INTO verdicts VALUES (1, ?, 7, ?, 0, 1, 1, ?, ?)", (text, text, text, text))
        for peer, root in ((text, text), (BOB, ROOT)):
            db.execute("INSERT INTO heard VALUES (?, 5, 1, 1, 8, ?, x'00', 1, 0, x'00', 1)", (peer, root))
    db.close()
