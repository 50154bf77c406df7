"""Files that any program may have put into a folder which peers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from learnae.content.cids import check, raw_cid
from learnae.plugins.announcer.bulletin import Reader, post
from learnae.plugins.storage.packs import BrokenPackError, Pack, PackWriter
from learnae.records import BLOCK_BYTES, Block
from learnae.testing.hostile.targets import Target

MESSAGE_BYTES = 100


def targets(folder: Path) -> Iterator[Target]:
    yield _pack(folder)
    yield _bulletin(folder / "channel")


def _pack(folder: Path) -> Target:
    path, temporary = folder / "pack", folder / "new"

    def written(*payloads: bytes) -> bytes:
        writer = PackWriter(path, temporary)
        writer.add_all(Block(raw_cid(data), data) for data in payloads)
        writer.commit()
        return path.read_bytes()

    def decode(data: bytes) -> list[Block]:
        path.write_bytes(data)
        with Pack(path) as pack:
            return [pack.read(cid, place) for cid, place in pack.index().items()]

    def lies_within(data: bytes, blocks: list[Block]) -> None:
        assert sum(len(block.data) for block in blocks) <= len(data)
        assert all(len(block.data) <= BLOCK_BYTES and (check(block) or block.data in data) for block in blocks)

    seeds = (written(), written(b"one"), written(b"", b"two", bytes(300)))
    return Target("pack", decode, (BrokenPackError,), seeds, (), lies_within)


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
