"""What a holder of blocks may do that belongs to the swarm and is hostile: over a fake network in virtual time, and on a real host."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import trio

from learnae.lowlevel import BLOCK_BYTES
from learnae_libp2p.streams.frames import CID_BYTES, HEADER, Absence, FrameKind, FrameReader, block_header, cids_in, frame, to_bits
from learnae_libp2p.streams.transport import Stream

Behave = Callable[[Stream, FrameReader], Awaitable[None]]


async def wanted_by(reader: FrameReader) -> list[bytes]:
    """The CIDs of the next question for blocks; says that it has everything to whoever asks."""
    while (header := await reader.header()) is not None:
        body = await reader.body(header[1])
        if header[0] == FrameKind.WANT:
            return list(cids_in(body))
    return []


async def silent(stream: Stream, reader: FrameReader) -> None:
    await trio.sleep_forever()


async def reads_and_says_nothing(stream: Stream, reader: FrameReader) -> None:
    while await wanted_by(reader):
        pass


async def drips(stream: Stream, reader: FrameReader) -> None:
    """A byte a second of each block that it is asked for."""
    for cid in await wanted_by(reader):
        await stream.send_all(block_header(cid, 100_000))
        for _ in range(100_000):
            await trio.sleep(1.0)
            await stream.send_all(b"x")


def has_all_and_drips(after: float) -> Behave:
    """It says that it has all, so many seconds after it is asked, and sends more of the first block than somebody silent does."""

    async def behave(stream: Stream, reader: FrameReader) -> None:
        wanted = list[bytes]()
        while not wanted and (header := await reader.header()) is not None:
            body = await reader.body(header[1])
            if header[0] == FrameKind.ASK:
                await trio.sleep(after)
                await stream.send_all(frame(FrameKind.HAS, body[:4], to_bits([True] * len(list(cids_in(body, 4))))))
            elif header[0] == FrameKind.WANT:
                wanted = list(cids_in(body))
        for cid in wanted[:1]:
            await stream.send_all(block_header(cid, BLOCK_BYTES))
            for _ in range(BLOCK_BYTES // 100):
                await trio.sleep(1.0)
                await stream.send_all(b"x" * 100)

    return behave


async def lies(stream: Stream, reader: FrameReader) -> None:
    while cids := await wanted_by(reader):
        for cid in cids:
            await stream.send_all(block_header(cid, 1000) + b"x" * 1000)


async def floods(stream: Stream, reader: FrameReader) -> None:
    """With blocks that nobody has asked for."""
    while True:
        await stream.send_all(block_header(secrets.token_bytes(CID_BYTES), 100_000) + bytes(100_000))


async def offers_a_million(stream: Stream, reader: FrameReader) -> None:
    number = 0
    while True:
        number += 1
        await stream.send_all(frame(FrameKind.ABSENT, bytes([Absence.UNKNOWN]), *[number.to_bytes(CID_BYTES, "big")] * 1000))


async def answers_what_was_not_asked(stream: Stream, reader: FrameReader) -> None:
    while True:
        await stream.send_all(frame(FrameKind.HAS, b"1234", b"\xff" * 1000))


async def says_that_a_frame_is_endless(stream: Stream, reader: FrameReader) -> None:
    await stream.send_all(HEADER.pack(FrameKind.BLOCK, 0xFFFFFFFF))
    await trio.sleep_forever()


async def sends_garbage(stream: Stream, reader: FrameReader) -> None:
    await stream.send_all(b"\xa5" * 5000)
    await trio.sleep_forever()


async def sends_half_a_block(stream: Stream, reader: FrameReader) -> None:
    for cid in await wanted_by(reader):
        await stream.send_all(block_header(cid, BLOCK_BYTES) + bytes(1000))
        return


async def closes_at_once(stream: Stream, reader: FrameReader) -> None:
    return


BEHAVIOURS: dict[str, Behave] = {
    behave.__name__: behave
    for behave in (
        silent,
        reads_and_says_nothing,
        drips,
        lies,
        floods,
        offers_a_million,
        answers_what_was_not_asked,
        says_that_a_frame_is_endless,
        sends_garbage,
        sends_half_a_block,
        closes_at_once,
    )
}
