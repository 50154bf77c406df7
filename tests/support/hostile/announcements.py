"""Envelopes: as they come, and with a payload that somebody has signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from learnae.content.cids import dag_cid
from learnae.data.readings import ReadingFormat, declared, open_sample
from learnae.errors import UpdateRejectedError
from learnae.identity.envelopes import ENVELOPE_BYTES, OpenedEnvelope, decode_envelope, encode_envelope
from learnae.identity.keys import Identity
from learnae.records import Announcement, Body, Leaving, Present, Sample, Slice, Update
from tests.support.hostile.targets import Target
from tests.support.hostile.value_mutations import CBOR

SWARM = bytes(range(16))
READINGS = ReadingFormat(declared({"t": "float32", "place": "text"}), "CC0-1.0", "a roof")
HEAD_BYTES = 97
SIGNED = b"learnae/announcement/1"
BODIES: tuple[Body, ...] = (
    Update(
        root=dag_cid(b"root"),
        bytes=139_265,
        lineage=b"lineage1",
        architecture=b"signatur",
        age=1200,
        provisional=False,
        own_steps=700,
        samples=179_200,
        step_seconds=0.0015,
        codec="int8",
    ),
    Update(
        root=dag_cid(b"root"),
        bytes=1,
        lineage=b"lineage1",
        architecture=b"signatur",
        age=0,
        provisional=True,
        own_steps=0,
        samples=0,
        step_seconds=0.0,
        codec="fp32",
        base=dag_cid(b"base"),
        loss=0.25,
        sketch=bytes(range(200)) * 2,
    ),
    Slice(root=dag_cid(b"root"), bytes=4000, schema=b"schema", rows=120, labels={"cat": 60, "dog": 60}, sketch=bytes(64)),
    Sample(bytes(range(100))),
    Present({"ipfs": ("/ip4/127.0.0.1/tcp/4001", "/dns/a.example/udp/4001"), "directory": ()}, "keeper", (1, 2)),
    Present(),
    Leaving(),
)


def signed(payload: bytes, identity: Identity) -> bytes:
    """An envelope of version 1 around any bytes."""
    return b"\x01" + bytes.fromhex(identity.peer) + identity.sign(SIGNED + payload) + payload


def targets() -> Iterator[Target]:
    identity = Identity.generate(b"hostile!" * 4)
    seeds = tuple(
        encode_envelope(identity, Announcement(swarm=SWARM, peer=identity.peer, number=number, body=body))
        for number, body in enumerate(BODIES)
    )

    def open_payload(payload: bytes) -> OpenedEnvelope:
        return decode_envelope(signed(payload, identity), SWARM)

    def is_one_of_the_seeds(data: bytes, opened: Any) -> None:
        assert data in seeds, "an envelope that nobody has signed"

    def comes_back(payload: bytes, opened: OpenedEnvelope) -> None:
        announcement = opened.announcement
        assert announcement.peer == identity.peer
        again = decode_envelope(encode_envelope(identity, announcement, limit=2 * ENVELOPE_BYTES), SWARM).announcement
        assert again == announcement or attrs.evolve(again, body=announcement.body) == announcement

    yield Target("envelope", lambda data: decode_envelope(data, SWARM), (UpdateRejectedError,), seeds, (), is_one_of_the_seeds)
    samples = tuple(READINGS.payload(number, [READINGS.pack({"t": 1.0, "place": "roof"})] * (number + 1)) for number in range(3))
    yield Target("sample", open_sample, (UpdateRejectedError,), samples, (CBOR,))
    payloads = tuple(seed[HEAD_BYTES:] for seed in seeds)
    yield Target("payload", open_payload, (UpdateRejectedError,), payloads, (CBOR,), comes_back)
