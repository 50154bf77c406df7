"""Frames on a stream: bounded before they are read, and whole however the bytes are cut."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from learnae.lowlevel import BLOCK_BYTES
from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.frames import (
    CID_BYTES,
    HEADER,
    MOST_BYTES,
    FrameError,
    FrameKind,
    FrameReader,
    FrameWriter,
    cids_in,
    frame,
    from_bits,
    in_frames,
    to_bits,
)
from learnae_libp2p.streams.transport import FAST_WRITE, StreamClosedError


class Pieces:
    """A stream on which exactly these pieces come."""

    peer = "other"

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.sent, self.asked = list(pieces), list[bytes](), list[int]()

    async def receive_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append(max_bytes)
        return self.pieces.pop(0) if self.pieces else b""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(bytes(data))

    async def aclose(self) -> None: ...
    async def reset(self) -> None: ...


async def all_of(reader: FrameReader) -> list[tuple[int, bytes]]:
    found = []
    while (header := await reader.header()) is not None:
        found.append((header[0], await reader.body(header[1])))
    return found


@given(bodies=st.lists(st.binary(max_size=300), max_size=5), cuts=st.lists(st.integers(1, 400), max_size=10))
def test_frames_come_whole_however_the_bytes_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    data, pieces = b"".join(frame(FrameKind.WANT, body) for body in bodies), []
    for cut in cuts:
        pieces, data = [*pieces, data[:cut]], data[cut:]
    reader = FrameReader(Pieces(*filter(None, [*pieces, data])))
    assert run_in_virtual_time(all_of, reader) == [(FrameKind.WANT, body) for body in bodies]
    assert reader.received == sum(HEADER.size + len(body) for body in bodies)


@pytest.mark.parametrize(("kind", "most"), [(FrameKind.WANT, MOST_BYTES), (99, MOST_BYTES), (FrameKind.BLOCK, CID_BYTES + BLOCK_BYTES)])
def test_a_frame_that_is_too_long_is_refused_by_its_header(kind: int, most: int) -> None:
    async def first(length: int) -> None:
        stream = Pieces(HEADER.pack(kind, length))
        await FrameReader(stream).header()
        assert len(stream.asked) == 1

    run_in_virtual_time(first, most)
    with pytest.raises(FrameError):
        run_in_virtual_time(first, most + 1)


@pytest.mark.parametrize("data", [b"\x03", HEADER.pack(3, 10), HEADER.pack(3, 10) + b"123456789"])
def test_a_stream_that_ends_within_a_frame_is_no_end_between_two(data: bytes) -> None:
    with pytest.raises(StreamClosedError):
        run_in_virtual_time(all_of, FrameReader(Pieces(data)))


def test_what_is_skipped_is_not_kept_and_the_next_frame_comes_whole() -> None:
    async def main() -> tuple[int, int] | None:
        reader = FrameReader(Pieces(frame(FrameKind.WANT, b"x" * 1000)[:500], b"x" * 505 + frame(FrameKind.ASK, b"12")))
        header = await reader.header()
        assert header is not None
        await reader.skip(header[1])
        return await reader.header()

    assert run_in_virtual_time(main) == (FrameKind.ASK, 2)


def test_many_cids_go_in_several_frames_that_come_out_even() -> None:
    cids = [number.to_bytes(CID_BYTES, "big") for number in range(2500)]
    frames = list(in_frames(FrameKind.WANT, cids))
    assert len(frames) == 3
    assert all(len(one) - HEADER.size <= MOST_BYTES for one in frames)
    assert [cid for one in frames for cid in cids_in(one[HEADER.size :])] == cids


def test_a_list_of_cids_with_a_piece_too_many_is_refused() -> None:
    with pytest.raises(FrameError):
        cids_in(b"1" * (CID_BYTES + 1))


@given(st.lists(st.booleans(), max_size=70))
def test_flags_come_back(flags: list[bool]) -> None:
    assert from_bits(to_bits(flags), len(flags)) == flags


def test_flags_of_another_length_than_the_question_are_refused() -> None:
    with pytest.raises(FrameError):
        from_bits(b"\0" * 1000, 8)


@given(st.lists(st.binary(max_size=200), max_size=30), st.integers(1, 300))
def test_what_is_written_goes_in_order_and_in_full_writes(pieces: list[bytes], write: int) -> None:
    async def main() -> list[bytes]:
        stream = Pieces()
        writer = FrameWriter(stream)
        for piece in pieces:
            await writer.add(piece, write)
        await writer.flush()
        return stream.sent

    sent = run_in_virtual_time(main)
    assert b"".join(sent) == b"".join(pieces)
    assert all(len(one) == write for one in sent[:-1])


def test_a_block_goes_in_writes_that_travel_best() -> None:
    async def main() -> list[int]:
        stream = Pieces()
        writer = FrameWriter(stream)
        await writer.add(b"x" * BLOCK_BYTES)
        await writer.add(b"x" * BLOCK_BYTES)
        await writer.flush()
        return [len(one) for one in stream.sent]

    assert set(run_in_virtual_time(main)[:-1]) == {FAST_WRITE}
