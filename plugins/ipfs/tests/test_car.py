"""A CAR as Kubo writes it, byte for byte."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from typing import Any

import libipld
from hypothesis import given
from hypothesis import strategies as st

from learnae import Block, Cid
from learnae.lowlevel import cid_text, raw_cid
from learnae.testing.published import payloads, published
from learnae_ipfs.car import car, form


def frames(data: bytes) -> Iterator[bytes]:
    """What lies between the lengths of a CAR, read as its specification says, by other code."""
    stream = io.BytesIO(data)
    while first := stream.read(1):
        length, shift = first[0] & 0x7F, 7
        while first[0] & 0x80:
            first = stream.read(1)
            length, shift = length | (first[0] & 0x7F) << shift, shift + 7
        frame = stream.read(length)
        assert len(frame) == length
        yield frame


def test_it_is_the_car_that_a_daemon_exports(shared_kubo: Any) -> None:
    update = published("u", *payloads(3), *payloads(2, seed=1, length=200_000))
    meta, *leaves, part, root = update.blocks
    made = b"".join(car(update.root, (root, meta, part, *leaves)))  # in the order of an export: down before on
    shared_kubo.ipfs("dag", "import", "--pin-roots=false", data=made)
    assert exported(shared_kubo, update.root) == made


def exported(kubo: Any, root: Cid) -> bytes:
    command = [kubo.program, "dag", "export", "--progress=false", root]
    return subprocess.run(command, env=kubo.environment, check=True, capture_output=True, timeout=60).stdout


@given(st.lists(st.binary(max_size=300)), st.binary(max_size=300))
def test_each_block_is_in_it_once_and_whole(payloads: list[bytes], top: bytes) -> None:
    blocks = [Block(raw_cid(data), data) for data in (top, *payloads)]
    head, *rest = frames(b"".join(car(blocks[0].cid, blocks)))
    header = libipld.decode_dag_cbor(head)
    assert (header["version"], [cid_text(root) for root in header["roots"]]) == (1, [blocks[0].cid])
    assert [Block(cid_text(frame[:36]), frame[36:]) for frame in rest] == list(dict.fromkeys(blocks))


def test_blocks_are_taken_as_the_car_is_sent() -> None:
    taken = []

    def blocks() -> Iterator[Block]:
        for data in payloads(3):
            taken.append(data)
            yield Block(raw_cid(data), data)

    pieces = car(raw_cid(b""), blocks())
    next(pieces)
    assert taken == []
    next(pieces)
    assert len(taken) == 1


def test_no_two_forms_have_the_same_boundary() -> None:
    (kind, head, tail), (other, *_) = form(), form()
    boundary = kind.removeprefix("multipart/form-data; boundary=")
    assert kind != other
    assert head.startswith(f"--{boundary}\r\n".encode())
    assert tail == f"\r\n--{boundary}--\r\n".encode()
