"""What lies in storages and is said on media stays as it is: peers of other versions read it. These are the bytes of version 1.

A test here that fails means that two versions no longer understand each other. Change these values only with the version of the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from learnae.content.meta import architecture_of
from learnae.content.pack import Packed, pack
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.node.tensors import encode_raw, travels_raw
from learnae.plugins.codec import Fp32, Int8
from learnae.records import Announcement, AnnouncementKind, Body, Cid, Encoded, Leaving, Present, Sample, Slice, TensorSpec, Update
from learnae.strategies import Codec, NoOptions
from learnae.testing.context import make_context

IDENTITY = Identity.generate(b"\x11" * 32)
ROOT = Cid("bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua")
OPEN, PRIVATE = SwarmIdentity(name="version 1"), SwarmIdentity(name="version 1", key=SwarmKey(b"\x22" * 32))
SPECS = (
    TensorSpec(name="layer.weight", dtype="float32", shape=(40, 30)),
    TensorSpec(name="layer.bias", dtype="bfloat16", shape=(40,)),
    TensorSpec(name="large.weight", dtype="float32", shape=(700, 800)),
    TensorSpec(name="norm.running_var", dtype="float32", shape=(5,), buffer=True),
    TensorSpec(name="norm.num_batches_tracked", dtype="int64", shape=(), buffer=True),
)
BODIES: dict[str, Body] = {
    "update": Update(
        root=ROOT, bytes=139_265, lineage=b"lineage1", architecture=b"signatur", age=1200, provisional=False, own_steps=700,
        samples=179_200,
        step_seconds=0.0015, codec="int8", loss=0.25,
    ),
    "update-of-a-delta": Update(
        root=ROOT, bytes=1, lineage=b"lineage1", architecture=b"signatur", age=1, provisional=True, own_steps=1, samples=1,
        step_seconds=0.0, codec="fp32", base=ROOT, sketch=bytes(range(200)) * 2,
    ),
    "slice": Slice(root=ROOT, bytes=70_000, schema=b"schema", rows=128, labels={"cat": 60, "dog": 68}),
    "sample": Sample(payload=b"21.5 C"),
    "present": Present(hints={"ipfs": ("/ip4/127.0.0.1/tcp/4001",)}, role="keeper", versions=(1, 2)),
    "leaving": Leaving(),
}  # fmt: skip


def message(body: Body, swarm: SwarmIdentity) -> bytes:
    announcement = Announcement(swarm=swarm.id, peer=IDENTITY.peer, number=7, body=body)
    return encode_envelope(IDENTITY, announcement, encryption=swarm.messages)


def entries(codec: Codec) -> Iterator[tuple[TensorSpec, Encoded]]:
    """Values that every machine makes alike: no random generator, no transcendental function."""
    for spec in SPECS:
        values = (np.arange(spec.count, dtype=np.int64) * 7919 % 1009 - 504).reshape(spec.shape)
        tensor = values.astype(np.float32) / 256 if spec.floating else values
        if travels_raw(spec):
            yield spec, encode_raw(spec, tensor)
        else:
            yield spec, codec.encode(spec.name, tensor, None, np.random.default_rng(0))


def packed(codec: type[Codec], name: str, swarm: SwarmIdentity, home: Path) -> Packed:
    made = codec(NoOptions(), make_context(home))
    return pack(entries(made), peer=IDENTITY.peer, kind=AnnouncementKind.UPDATE, number=7, codec=name, encryption=swarm.blocks)


def digest(items: list[str]) -> str:
    return hashlib.sha256("\n".join(items).encode()).hexdigest()[:32]


def test_a_name_and_a_key_give_the_same_swarm() -> None:
    assert (IDENTITY.peer, OPEN.id.hex(), PRIVATE.id.hex()) == (
        "d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737",
        "a0e2326ee2a9e5ccb522259bc01ad0b9",
        "e08fd9e89adaa7e39d7fbbcec9034a90",
    )
    assert PRIVATE.alias("x").hex() == "f8435d5eadf26d0bc4b31b559797200ed2439e6ff92222ebfecb6f5a694d707f"


def test_an_architecture_has_the_same_signature() -> None:
    assert architecture_of(SPECS, frozen=b"frozen").hex() == "211b0cd60decff8a"


@pytest.mark.parametrize(
    ("kind", "plain", "sealed"),
    [
        ("update", "a60f3cd5162f82d95080c77a3cc160ce", "421cee99eaf105b7e6396e83dbbb5469"),
        ("update-of-a-delta", "6a87b43a1ae420d1f243c5ec0f2bdf1d", "2d3a4d8e8f331570235c8ba18ba79116"),
        ("slice", "52577fd677a8b895d3772a7f49118756", "70dccb884ed930967fefa2e92aca493c"),
        ("sample", "eed35ea725d7cc81dfd5525f93d6673e", "5e7e1616427b09be0c8c2d20c2530847"),
        ("present", "faff9d50de5adcc9998280aafd18ccf5", "8103317fb44f8028b8e89da92fb312c3"),
        ("leaving", "b8fa98be7abfe829b00389d82733cd0a", "6af547ab514ca9a97209ef373d139ae1"),
    ],
)
def test_an_announcement_has_the_same_bytes(kind: str, plain: str, sealed: str) -> None:
    assert [hashlib.sha256(message(BODIES[kind], swarm)).hexdigest()[:32] for swarm in (OPEN, PRIVATE)] == [plain, sealed]


@pytest.mark.parametrize(
    ("codec", "name", "swarm", "root", "blocks"),
    [
        (Fp32, "fp32", OPEN, "bafyreick6u62nxi323h2zgmuhn2apcmzhdrn7c3o45gzarau73chppygpq", "e44c7ee1f04df6edfec0e2b200a8ab3a"),
        (Fp32, "fp32", PRIVATE, "bafyreidwutkyb7jv5la6n6lgzwmtwjqtkuctq5tddr4zbe4t4h75gxnv2y", "bc74b21db5523464d778f3a33b5ae40e"),
        (Int8, "int8", OPEN, "bafyreie6zgxhcny7cwngwsncusdsdjl2se7ixwg7c2h5iwe5wgp2lh7qwu", "eae25042c3cb4f2b03db7b32bfbd86ee"),
        (Int8, "int8", PRIVATE, "bafyreidjan645pmggj4ccbieuozey7xj2jox5prcf3i5oq5d2fuqvhzcxu", "f291c2e93ac1958ce39a7a2ced30f936"),
    ],
)
def test_an_update_has_the_same_blocks(codec: type[Codec], name: str, swarm: SwarmIdentity, root: str, blocks: str, tmp_path: Path) -> None:
    result = packed(codec, name, swarm, tmp_path)
    assert (result.root, digest([block.cid for block in result.blocks])) == (root, blocks)
