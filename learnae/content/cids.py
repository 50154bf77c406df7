"""Content identifiers: CIDv1, sha2-256, raw or dag-cbor. Nothing else is made or accepted."""

from __future__ import annotations

import hashlib

import libipld

from learnae.errors import UpdateRejectedError
from learnae.records import BLOCK_BYTES, Block, Cid

CID_BYTES = 36
RAW = b"\x01\x55\x12\x20"  # version 1, codec raw, sha2-256, 32 bytes
DAG = b"\x01\x71\x12\x20"  # the same for dag-cbor

_TEXT_LENGTH = 59  # "b" and 58 base32 digits


def raw_cid(data: bytes | memoryview) -> Cid:
    """The CID of a block of plain bytes."""
    return _text(RAW + hashlib.sha256(data).digest())


def dag_cid(data: bytes | memoryview) -> Cid:
    """The CID of a dag-cbor block."""
    return _text(DAG + hashlib.sha256(data).digest())


def is_dag(cid: Cid) -> bool:
    """Whether a CID names a dag-cbor block; if not, it names a raw one."""
    return cid.startswith("bafyrei")


def cid_bytes(cid: Cid) -> bytes:
    """The 36 bytes of a CID. Raises UpdateRejectedError if it is none of ours."""
    return _bytes(parse_cid(cid))


def cid_text(data: object) -> Cid:
    """The CID that these 36 bytes stand for. Raises UpdateRejectedError if it is none of our form."""
    if not isinstance(data, bytes) or len(data) != CID_BYTES or not data.startswith((RAW, DAG)):
        raise UpdateRejectedError("cid", "not 36 bytes of a CIDv1 with sha2-256")
    return _text(data)


def parse_cid(text: object) -> Cid:
    """The CID that this text stands for. Raises UpdateRejectedError unless the text is exactly as we would write it."""
    if not isinstance(text, str) or len(text) != _TEXT_LENGTH:
        raise UpdateRejectedError("cid", "not the base32 text of a CIDv1 with sha2-256")
    try:
        data = _bytes(text)
    except ValueError as error:
        raise UpdateRejectedError("cid", str(error)) from None
    if cid_text(data) != text:
        raise UpdateRejectedError("cid", "not written in its usual form")
    return Cid(text)


def check(block: Block) -> bool:
    """Whether a block has at most 512 KiB, and whether its CID is the hash of its bytes.

    A good block remembers that. Both a storage and the core check it, and hashing is most of the cost of fetching.
    """
    if block.sound:
        return True
    if len(block.data) > BLOCK_BYTES or block.cid != (dag_cid(block.data) if is_dag(block.cid) else raw_cid(block.data)):
        return False
    if type(block.data) is bytes:  # all else might change
        object.__setattr__(block, "sound", True)
    return True


def _text(data: bytes) -> Cid:
    return Cid(libipld.encode_cid(data))


def _bytes(text: str) -> bytes:
    return libipld.decode_multibase(text)[1]
