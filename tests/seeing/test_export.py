"""A model out of a home, as a file that other programs read."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import trio
from safetensors import safe_open

from learnae.content.encryption import NO_ENCRYPTION
from learnae.content.pack import pack
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.node.history import PublishedUpdate
from learnae.plugins.codec import Fp32
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.records import AnnouncementKind, Encoded, TensorSpec
from learnae.testing.context import make_context

WEIGHT = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32)
COUNT = np.array(41, np.int64)


@pytest.fixture
def publish(tmp_path):
    """Puts a model of one weight and one count into the folder `blocks` and into a home; the root."""

    def put(home, number=4, encryption=NO_ENCRYPTION, weight=WEIGHT, dtype="float32"):
        weights = (
            TensorSpec(name="weight", dtype=dtype, shape=weight.shape),
            Fp32(None, make_context(tmp_path)).encode("weight", weight, None, None),
        )
        counts = TensorSpec(name="count", dtype="int64", shape=()), Encoded(COUNT.astype("<i8").tobytes())
        packed = pack([weights, counts], peer=home.own, kind=AnnouncementKind.UPDATE, number=number, codec="fp32", encryption=encryption)
        storage = DirectoryStorage(DirectoryStorageOptions(tmp_path / "blocks"), make_context(tmp_path))

        async def store() -> None:
            async with storage:
                await storage.put(packed.root, packed.blocks)

        trio.run(store)
        with home.open() as history:
            history.add_published(PublishedUpdate(number, packed.root, home.lineage, 820, 100, packed.bytes, "fp32", b"shapes 1"))
        return packed.root

    return put


@pytest.fixture
def home(lived, tmp_path):
    return lived().configured(storage=[{"use": "directory", "path": str(tmp_path / "blocks")}])


def read(path):
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 - no mapping


def test_the_newest_published_model_is_written_with_what_is_known_of_it(home, publish, learnae, tmp_path):
    root = publish(home)
    shown = learnae("export", home.path, "-o", "model.safetensors")
    assert shown.code == 0 and "2 tensors" in shown.out and "update 4 of peer" in shown.out
    tensors, metadata = read(tmp_path / "model.safetensors")
    assert np.array_equal(tensors["weight"], WEIGHT) and tensors["weight"].dtype == np.float32
    assert tensors["count"] == 41 and tensors["count"].shape == ()
    assert metadata == {
        "format": "pt",
        "learnae.swarm": "digits",
        "learnae.peer": home.own,
        "learnae.number": "4",
        "learnae.root": root,
        "learnae.codec": "fp32",
        "learnae.lineage": home.lineage.hex(),
        "learnae.age": "820",
    }


def test_an_older_one_is_had_by_its_root(home, publish, learnae, tmp_path):
    old = publish(home, number=4)
    publish(home, number=5, weight=WEIGHT + 1)
    assert learnae("export", home.path, old[:20], "-o", "old.safetensors").code == 0
    assert np.array_equal(read(tmp_path / "old.safetensors")[0]["weight"], WEIGHT)


def test_a_root_of_which_the_home_knows_nothing_is_had_if_its_blocks_are(home, publish, learnae, tmp_path):
    root = publish(home)
    with home.open() as history:
        history.drop_published(4)
    assert learnae("export", home.path, root, "-o", "any.safetensors").code == 0
    assert "learnae.age" not in read(tmp_path / "any.safetensors")[1]


@pytest.mark.parametrize(("dtype", "written"), [("float16", np.float16), ("bfloat16", np.float32)])
def test_a_model_of_half_precision_is_written_in_it_if_numpy_has_it(home, publish, learnae, tmp_path, dtype, written):
    publish(home, dtype=dtype)
    assert learnae("export", home.path, "-o", "model.safetensors").code == 0
    weight = read(tmp_path / "model.safetensors")[0]["weight"]
    assert weight.dtype == written and np.array_equal(weight, WEIGHT)


def test_a_file_that_is_there_is_kept_unless_forced(home, publish, learnae, tmp_path):
    publish(home)
    (tmp_path / "model.safetensors").write_text("precious")
    refused = learnae("export", home.path, "-o", "model.safetensors")
    assert refused.code == 2 and "--force" in refused.err
    assert (tmp_path / "model.safetensors").read_text() == "precious"
    assert learnae("export", home.path, "-o", "model.safetensors", "--force").code == 0
    assert np.array_equal(read(tmp_path / "model.safetensors")[0]["weight"], WEIGHT)


def test_what_cannot_be_had_leaves_no_file_behind(home, publish, learnae, tmp_path):
    publish(home)
    for pack_file in (tmp_path / "blocks").iterdir():
        pack_file.unlink()
    before = sorted(tmp_path.iterdir())
    shown = learnae("export", home.path, "-o", "model.safetensors")
    assert shown.code == 2 and "cannot be had" in shown.err and "Traceback" not in shown.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_is_not_there_is_the_users_to_mend(home, publish, learnae):
    publish(home)
    shown = learnae("export", home.path, "-o", "nowhere/model.safetensors")
    assert shown.code == 2 and "cannot be written" in shown.err


def test_a_sealed_model_needs_the_key_that_the_file_names(home, publish, learnae, tmp_path, monkeypatch):
    key = SwarmKey.generate()
    publish(home, encryption=SwarmIdentity("digits", key).blocks)
    home.configured(swarm={"name": "digits", "key_env": "DIGITS_KEY"}, storage=[{"use": "directory", "path": str(tmp_path / "blocks")}])
    without = learnae("export", home.path, "-o", "model.safetensors")
    assert without.code == 2 and "DIGITS_KEY" in without.err
    monkeypatch.setenv("DIGITS_KEY", SwarmKey.generate().text())
    assert "cannot be had: seal" in learnae("export", home.path, "-o", "model.safetensors").err
    monkeypatch.setenv("DIGITS_KEY", key.text())
    assert learnae("export", home.path, "-o", "model.safetensors").code == 0
    assert np.array_equal(read(tmp_path / "model.safetensors")[0]["weight"], WEIGHT)


def test_a_file_that_is_named_says_where_the_storages_are(home, publish, learnae, tmp_path):
    publish(home)
    (home.path / "config.json").unlink()
    assert "does not say where its storages are" in learnae("export", home.path, "-o", "model.safetensors").err
    (tmp_path / "learnae.toml").write_text('[peer]\nhome = "home"\n[[storage]]\nuse = "directory"\npath = "blocks"\n')
    assert learnae("export", "learnae.toml", "-o", "model.safetensors").code == 0


@pytest.fixture
def checkpoint(home):
    folder = home.path / "checkpoint"
    folder.mkdir()
    model = {"weight": torch.tensor([[9.0, 8.0]], dtype=torch.bfloat16), "seen": torch.tensor([True, False]), "frozen": torch.tensor(7)}
    torch.save({"model": model, "swarm": {"lineage": home.lineage.hex(), "age": 830}}, folder / "checkpoint.pt")
    return model


def test_a_checkpoint_is_exported_bit_for_bit_before_what_was_published(home, publish, checkpoint, learnae, tmp_path):
    publish(home)
    assert "from the checkpoint at age 830" in learnae("export", home.path, "-o", "model.safetensors").out
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {n: t.tolist() for n, t in checkpoint.items()}  # noqa: SIM118
        assert (file.metadata()["learnae.age"], file.metadata()["learnae.lineage"]) == ("830", home.lineage.hex())
    assert learnae("export", home.path, "--published", "-o", "published.safetensors").code == 0
    assert np.array_equal(read(tmp_path / "published.safetensors")[0]["weight"], WEIGHT)


@pytest.mark.parametrize(("arguments", "weight"), [([], [[1.0, 2.0]]), (["--trained"], [[9.0, 8.0]])])
def test_a_checkpoint_is_exported_as_it_was_merged_last_unless_asked_for_otherwise(home, checkpoint, learnae, tmp_path, arguments, weight):
    merged = {"weight": torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)}
    torch.save({"model": checkpoint, "merged": merged, "swarm": {}}, home.path / "checkpoint" / "checkpoint.pt")
    shown = learnae("export", home.path, *arguments, "-o", "model.safetensors")
    assert ("merged" in shown.out) is (not arguments)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.get_tensor("weight").tolist() == weight
        assert file.get_tensor("frozen").item() == 7


@pytest.mark.parametrize("more", [["--published"], ["ROOT"]])
def test_an_update_has_no_trained_form(home, publish, learnae, more):
    root = publish(home)
    shown = learnae("export", home.path, "--trained", *[root if each == "ROOT" else each for each in more], "-o", "model.safetensors")
    assert shown.code == 2 and "--trained" in shown.err


def test_without_torch_the_published_model_is_exported(home, publish, checkpoint, learnae, tmp_path, monkeypatch):
    publish(home)
    monkeypatch.setattr("learnae.trainer", sys.modules["learnae.trainer"])  # what is imported below takes its place in the package too
    for name in [name for name in sys.modules if name.split(".")[0] == "torch" or name.startswith("learnae.trainer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    shown = learnae("export", home.path, "-o", "model.safetensors")
    assert shown.code == 0 and "from update 4" in shown.out
    with home.open() as history:
        history.drop_published(4)
        history.drop_published(3)
    assert 'pip install "learnae[torch]"' in learnae("export", home.path, "-o", "none.safetensors").err


def test_what_is_dropped_while_it_is_looked_for_is_replaced_by_the_next(home, publish, learnae, tmp_path, monkeypatch):
    """As in a small swarm, where an update lives for half a second."""
    publish(home, number=4)
    for pack_file in (tmp_path / "blocks").iterdir():
        pack_file.unlink()
    from learnae.cli import export

    honest, calls = export._stored, []

    def racing(seen, wanted, root):
        calls.append(root)
        if len(calls) == 1:
            with home.open() as history:
                history.drop_published(4)
            publish(home, number=5)
        return honest(seen, wanted, root)

    monkeypatch.setattr(export, "_stored", racing)
    with home.open() as node:
        assert node.last_round() == 41
        assert "update 5" in learnae("export", home.path, "-o", "model.safetensors").out


def test_a_home_without_any_model_says_so(home, learnae):
    with home.open() as history:
        history.drop_published(3)
    shown = learnae("export", home.path, "-o", "model.safetensors")
    assert shown.code == 2 and "neither a checkpoint nor a published model" in shown.err
