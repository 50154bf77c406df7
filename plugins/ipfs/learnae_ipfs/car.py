"""Blocks as one CAR in the body of a request, made while it is sent."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator

import libipld

from learnae import Block, Cid
from learnae.lowlevel import cid_bytes


def form() -> tuple[str, bytes, bytes]:
    """The content type of a form with one file, and what stands before and behind that file."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="car"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return f"multipart/form-data; boundary={boundary}", head.encode(), f"\r\n--{boundary}--\r\n".encode()


def car(root: Cid, blocks: Iterable[Block]) -> Iterator[bytes]:
    """A CAR (version 1) of these blocks, each written once."""
    yield _frame(libipld.encode_dag_cbor({"roots": [cid_bytes(root)], "version": 1}))
    written = set()
    for block in blocks:
        if block.cid not in written:
            written.add(block.cid)
            yield _frame(cid_bytes(block.cid), bytes(block.data))


def _frame(*pieces: bytes) -> bytes:
    return b"".join((_varint(sum(map(len, pieces))), *pieces))


def _varint(number: int) -> bytes:
    digits = []
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
