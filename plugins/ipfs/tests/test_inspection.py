"""What `ipfs` shows of a published model, and that it names each block as Learnae does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from learnae import AnnouncementKind, Encoded, TensorSpec
from learnae.content.encryption import NO_ENCRYPTION
from learnae.content.pack import Packed, pack
from learnae.lowlevel import Encryption, SwarmIdentity, SwarmKey
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.plugins.memory import MemoryStorage
from learnae.testing.context import peer_named
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

if TYPE_CHECKING:
    from learnae import Cid, Context, Storage

    Contexts = Callable[[str], Context]

PEER = peer_named("a")


def model(encryption: Encryption = NO_ENCRYPTION) -> Packed:
    """A large tensor of several blocks, and small ones that share one."""
    chance = np.random.default_rng(0)
    shapes = {"embedding": (300_000,), "bias": (7,), "scale": (3, 2)}
    tensors = {name: chance.normal(size=shape).astype("<f4") for name, shape in shapes.items()}
    entries = [(TensorSpec(name=name, dtype="float32", shape=array.shape), Encoded(array.tobytes(), {})) for name, array in tensors.items()]
    return pack(entries, peer=PEER, kind=AnnouncementKind.UPDATE, number=3, codec="fp32", encryption=encryption)


async def stored(storage: Storage, packed: Packed) -> set[Cid]:
    """The CIDs under which this storage gives back what was put."""
    found = set()
    async with storage:
        await storage.put(packed.root, packed.blocks)
        await storage.get([block.cid for block in packed.blocks], lambda block: found.add(block.cid))
        await storage.drop(packed.root)  # its blocks stay in a daemon that collects no garbage
    return found


def test_the_same_weights_have_the_same_cids_in_each_storage_and_in_the_eyes_of_kubo(
    shared_kubo: Any, learnae_contexts: Contexts, tmp_path: Path
) -> None:
    first, second, third = model(), model(), model()
    folder = DirectoryStorage(DirectoryStorageOptions(path=tmp_path), learnae_contexts("a"))
    ipfs = IpfsStorage(IpfsStorageOptions(address=shared_kubo.address), learnae_contexts("a"))
    named = [trio.run(stored, folder, first), trio.run(stored, MemoryStorage(None, learnae_contexts("a")), second)]
    assert named == [trio.run(stored, ipfs, third)] * 2
    reached = set(shared_kubo.ipfs("refs", "--recursive", "--unique", third.root).split())
    assert reached == {block.cid for block in third.blocks} - {third.root}
    for block in third.blocks:
        codec = "raw" if block.cid.startswith("bafk") else "dag-cbor"
        assert shared_kubo.ipfs("block", "put", f"--cid-codec={codec}", "--mhtype=sha2-256", data=bytes(block.data)) == block.cid


def test_root_and_meta_are_shown_in_plain_words_and_written_back_alike(shared_kubo: Any, learnae_contexts: Contexts) -> None:
    packed = model()
    trio.run(stored, IpfsStorage(IpfsStorageOptions(address=shared_kubo.address), learnae_contexts("a")), packed)
    root = json.loads(shared_kubo.ipfs("dag", "get", packed.root))
    assert sorted(root) == ["meta", "parts", "v"]
    meta = json.loads(shared_kubo.ipfs("dag", "get", f"{packed.root}/meta"))
    assert (meta["peer"], meta["number"], meta["codec"]) == (PEER, 3, "fp32")
    assert [tensor[0] for tensor in meta["tensors"]] == ["embedding", "bias", "scale"]
    again = shared_kubo.ipfs("dag", "put", "--store-codec=dag-cbor", "--input-codec=dag-json", data=json.dumps(root).encode())
    assert again == packed.root


def test_of_a_private_swarm_only_links_are_shown(shared_kubo: Any, learnae_contexts: Contexts) -> None:
    packed = model(SwarmIdentity("club", SwarmKey.generate()).blocks)
    trio.run(stored, IpfsStorage(IpfsStorageOptions(address=shared_kubo.address), learnae_contexts("a")), packed)
    root = json.loads(shared_kubo.ipfs("dag", "get", packed.root))
    assert (root["v"], [*root["meta"]], [[*part] for part in root["parts"]]) == (1, ["/"], [["/"]] * len(root["parts"]))
    assert [*json.loads(shared_kubo.ipfs("dag", "get", f"{packed.root}/meta"))["/"]] == ["bytes"]
    seen = "".join(shared_kubo.ipfs("dag", "get", block.cid) for block in packed.blocks)
    words = ("embedding", "float32", PEER)  # shorter ones stand there by chance: a megabyte of sealed bytes is shown in base64
    assert [word for word in words if word in seen] == []
