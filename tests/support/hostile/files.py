"""Files that any program may have put into a folder which peers share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from learnae.content.cids import check, raw_cid
from learnae.plugins.directory.bulletin import Reader, post
from learnae.plugins.directory.packs import BrokenPackError, Pack, PackWriter
from learnae.records import BLOCK_BYTES, Block
from tests.support.hostile.targets import Target

MESSAGE_BYTES = 100


def targets(folder: Path) -> Iterator[Target]:
    yield _pack(folder)
    yield _cut_pack(folder)
    yield _bulletin(folder / "channel")


def _written(path: Path, *payloads: bytes) -> bytes:
    writer = PackWriter(path, path.with_name("new"))
    writer.add_all(Block(raw_cid(data), data) for data in payloads)
    writer.commit()
    return path.read_bytes()


def _pack(folder: Path) -> Target:
    path = folder / "pack"

    def decode(data: bytes) -> list[Block]:
        path.write_bytes(data)
        with Pack(path) as pack:
            return [pack.read(cid, place) for cid, place in pack.index().items()]

    return Target("pack", decode, (BrokenPackError,), _seeds(path), (), _lies_within)


def _cut_pack(folder: Path) -> Target:
    """A pack that somebody shortens or lengthens while it is read: the first byte says when, the next two the new length."""
    path = folder / "cut"

    def decode(data: bytes) -> list[Block]:
        head = data[:3].ljust(3, b"\0")
        early, length = head[0] < 128, int.from_bytes(head[1:], "big")
        path.write_bytes(data[3:])
        with Pack(path) as pack:
            if early:
                os.truncate(path, length)
            index = pack.index()
            os.truncate(path, length)
            return [pack.read(cid, place) for cid, place in index.items()]

    def is_sound_or_shorter(data: bytes, blocks: list[Block]) -> None:
        _lies_within(data + bytes(1 << 16), blocks)

    seeds = tuple(b"\xff\xff\xff" + seed for seed in _seeds(path))
    return Target("cut", decode, (BrokenPackError,), seeds, (), is_sound_or_shorter)


def _seeds(path: Path) -> tuple[bytes, ...]:
    return _written(path), _written(path, b"one"), _written(path, b"", b"two", bytes(300))


def _lies_within(data: bytes, blocks: list[Block]) -> None:
    assert sum(len(block.data) for block in blocks) <= len(data)
    assert all(len(block.data) <= BLOCK_BYTES and (check(block) or block.data in data) for block in blocks)


def _bulletin(folder: Path) -> Target:
    """The first line is the file's name, the rest its content."""
    post(folder, b"key", b"a message")
    own = next(folder.iterdir()).name.encode()

    def decode(data: bytes) -> list[bytes]:
        name, _, content = data.partition(b"\n")
        path = folder / name.decode("ascii", "replace").replace("/", "_").replace("\x00", "_")[:60]
        if path.is_dir():
            return []
        path.write_bytes(content)
        try:
            reader = Reader([folder], MESSAGE_BYTES)
            return [*reader.look(), *reader.look()]
        finally:
            path.unlink()

    def is_what_lay_there(data: bytes, messages: list[bytes]) -> None:
        content = data.partition(b"\n")[2]
        assert messages == [] or (messages == [content] and len(content) <= MESSAGE_BYTES)

    (folder / own.decode()).unlink()
    seeds = (own + b"\na message", own + b"\n", own + b"\n" + bytes(MESSAGE_BYTES + 1))
    return Target("bulletin", decode, (), seeds, (), is_what_lay_there)
