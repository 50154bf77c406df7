"""Who wrote against old public names is told, and goes on working."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import learnae
from learnae import LearnaeDeprecationWarning
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.plugins.manager import PluginManager, open_peer_file
from learnae.records import Announcement, Leaving
from tests.support.records import an_update

Install = Callable[..., None]

OLD = """
from learnae import ElementwiseMerge, Unavailable, UpdateRejected, hookimpl
from learnae.errors import NeedsTorch
from learnae.lowlevel import key, readable, say

class Old(ElementwiseMerge):
    '''Keeps the own model, and refuses what is empty.'''

    def combine(self, stacked, weights):
        if not stacked.size:
            raise UpdateRejected("empty")
        return stacked[0]

@hookimpl
def learnae_register_merge():
    return {"old": Old}
"""

RENAMED = [
    ("learnae", "Kind", "AnnouncementKind"),
    ("learnae.lowlevel", "MOST_NUMBERS", "MAX_SEQUENCE_NUMBER"),
    ("learnae.lowlevel", "key", "option"),
    ("learnae.lowlevel", "readable", "sanitize"),
    ("learnae.lowlevel", "say", "print_message"),
    ("learnae.lowlevel", "tell", "print_result"),
    ("learnae", "NeedsTorch", "NeedsTorchError"),
    ("learnae", "Unavailable", "UnavailableError"),
    ("learnae", "UpdateRejected", "UpdateRejectedError"),
    ("learnae.errors", "NeedsTorch", "NeedsTorchError"),
    ("learnae.errors", "Unavailable", "UnavailableError"),
    ("learnae.errors", "UpdateRejected", "UpdateRejectedError"),
]


@pytest.mark.parametrize(("module", "old", "new"), RENAMED)
def test_an_old_name_is_the_same_class_and_names_the_new_one(module: str, old: str, new: str) -> None:
    found = importlib.import_module(module)
    with pytest.warns(LearnaeDeprecationWarning, match=rf"{old} is called .*{new} now; .* 0\.2") as told:
        assert getattr(found, old) is getattr(found, new)
    assert told[0].filename == __file__


def test_the_old_name_of_the_loops_class_is_the_same_class() -> None:
    pytest.importorskip("torch", reason="needs torch")
    with pytest.warns(LearnaeDeprecationWarning, match="TrainingLoop"):
        assert learnae.Trainer is learnae.TrainingLoop


def test_a_name_that_never_was_is_an_attribute_error_that_names_the_module() -> None:
    with pytest.raises(AttributeError, match=r"'learnae'.*'trainer_of_mine'"):
        _ = learnae.trainer_of_mine
    with pytest.raises(ImportError):
        exec("from learnae.errors import Unreachable")


def test_each_place_that_uses_an_old_name_is_told_of_once() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            _ = learnae.Unavailable
        _ = learnae.Unavailable
    assert len(told) == 2


def test_an_installed_plugin_of_old_names_is_loaded_and_told(install: Install, tmp_path: Path) -> None:
    install("learnae-old", OLD)
    with pytest.warns(LearnaeDeprecationWarning) as told:
        manager = PluginManager.discover()
    assert not manager.broken
    merge = manager.find("merge", "old", tmp_path).load()
    assert issubclass(merge, learnae.ElementwiseMerge)
    assert {word for one in told for word in str(one.message).split() if word.endswith("Error")} == {
        "learnae.UnavailableError",
        "learnae.UpdateRejectedError",
        "learnae.NeedsTorchError",
    }


def test_what_an_old_plugin_raises_is_caught_by_its_new_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OLD)
    (tmp_path / "learnae.toml").write_text('[merge]\nuse = "mine:Old"\n')
    with pytest.warns(LearnaeDeprecationWarning):
        config, manager = open_peer_file(tmp_path / "learnae.toml")
    numpy = pytest.importorskip("numpy")
    merge = manager.find("merge", config.merge.use, config.folder).load()(config.merge.options, context=None)  # type: ignore[arg-type]
    with pytest.raises(learnae.UpdateRejectedError):
        merge.combine(numpy.empty((0, 3)), None)  # type: ignore[attr-defined]


def test_the_author_of_a_plugin_sees_the_warning_without_asking_for_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OLD)
    (tmp_path / "learnae.toml").write_text('[merge]\nuse = "mine:Old"\n')
    done = subprocess.run(
        [sys.executable, "-m", "learnae", "check", "learnae.toml"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.count("UnavailableError") == 1
    assert "mine.py" in done.stderr
    assert "LearnaeDeprecationWarning" in done.stderr


@pytest.fixture
def status() -> Any:
    pytest.importorskip("torch", reason="needs torch")
    counts = dict.fromkeys(("node_starts", "age", "steps", "samples", "adoptions", "rounds", "heard", "merged", "refused"), 0)
    return learnae.Status(
        node="running", lineage=b"", **counts, outages={"model": "NaN"}, last_error="it broke", quarantined={"merge mine": 3}
    )


@pytest.mark.parametrize(
    ("old", "value"), [("benched", {"merge mine": 3}), ("last_words", "it broke"), ("facts", {"outages": {"model": "NaN"}})]
)
def test_a_status_is_read_by_the_old_names_of_its_fields(status: Any, old: str, value: Any) -> None:
    with pytest.warns(LearnaeDeprecationWarning, match=rf"Status\.{old}") as told:
        assert getattr(status, old) == value
    assert [one.filename for one in told] == [__file__]


@pytest.fixture
def update() -> Any:
    return an_update(architecture=b"shapes 1")


def test_an_update_is_read_and_made_by_the_old_names_of_its_fields(update: Any) -> None:
    values = attrs.asdict(update)
    values["signature"] = values.pop("architecture")
    with pytest.warns(LearnaeDeprecationWarning, match="architecture") as made:
        assert learnae.Update(**values) == update
    with pytest.warns(LearnaeDeprecationWarning, match="architecture") as read:
        assert update.signature == b"shapes 1"
    assert [one.filename for one in (*made, *read)] == [__file__] * 2


def test_whether_an_update_is_young_is_whether_it_is_provisional() -> None:
    with pytest.warns(LearnaeDeprecationWarning, match="provisional"):
        assert an_update(provisional=True).young is True


def test_a_message_is_sealed_by_what_comes_under_the_old_name() -> None:
    swarm, identity = SwarmIdentity("a", SwarmKey.generate()), Identity.generate()
    said = Announcement(swarm=swarm.id, peer=identity.peer, number=1, body=Leaving())
    with pytest.warns(LearnaeDeprecationWarning, match="encryption"):
        assert encode_envelope(identity, said, seal=swarm.messages) == encode_envelope(identity, said, encryption=swarm.messages)


def test_an_old_and_a_new_name_of_a_field_together_are_refused(update: Any) -> None:
    with pytest.raises(TypeError, match="architecture and signature"):
        learnae.Update(**attrs.asdict(update), signature=b"shapes 2")
