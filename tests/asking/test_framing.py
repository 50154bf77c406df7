"""How an answer is framed: what is HTTP/1.1 comes out as it was, and nothing else comes out at all."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.http import FAILURES, BadResponseError, ResponseTooLongError
from learnae.http.messages import FIELDS, HEAD_BYTES, BoundedReader, read_body, read_head
from tests.support.hostile.http_answers import Played

MOST = 10_000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def source_of(pieces: Iterable[bytes]) -> BoundedReader:
    source = BoundedReader(Played(pieces))
    source.begin(math.inf, math.inf)
    return source


def answered(*pieces: bytes, most: int = MOST) -> tuple[int, bytes]:
    source = source_of(pieces)
    head = read_head(source)
    return head.status, b"".join(read_body(source, head, most))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(st.binary(max_size=2000), st.lists(st.integers(1, 500), max_size=8), st.lists(st.integers(0, 5000), max_size=6), st.booleans())
def test_a_body_comes_out_as_it_was_however_it_is_cut(body: bytes, sizes: list[int], places: list[int], in_chunks: bool) -> None:
    if in_chunks:
        chunks, rest = [], body
        for size in [*sizes, len(body)]:
            chunk, rest = rest[:size], rest[size:]
            chunks += [b"%X;a=b\r\n%b\r\n" % (len(chunk), chunk)] if chunk else []
        data = CHUNKED + b"".join(chunks) + b"0\r\nX-Late: 1\r\n\r\n"
    else:
        data = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert answered(*cut(data, places)) == (200, body)


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=4))
def test_a_body_without_a_length_ends_with_the_connection(body: bytes, places: list[int]) -> None:
    assert answered(*cut(b"HTTP/1.0 500 \r\n\r\n" + body, places)) == (500, body)


@given(st.sampled_from([OK, CHUNKED, b"HTTP/1.1 ", b""]), st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=4))
def test_whatever_comes_either_is_an_answer_or_fails_as_one(head: bytes, rest: bytes, places: list[int]) -> None:
    try:
        status, body = answered(*cut(head + rest, places), most=100)
    except FAILURES:
        return
    assert 200 <= status <= 599
    assert len(body) <= 100


@pytest.mark.parametrize(
    "size", [b"-1", b"-5", b"+2", b"0x2", b"", b" 2", b"2 2", b"g", b"\xb2", b"1_0", b"123456789", b"2;" + b"x" * 300, b"ffffffff"]
)
def test_chunks_of_no_size_are_refused(size: bytes) -> None:
    with pytest.raises(BadResponseError):
        answered(CHUNKED + size + b"\r\n{}\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "end", [b"2\r\n{}", b"2\r\n{}x", b"2\r\n{}\n", b"2\r\n{}\r\n", b"2\r\n{}\r\n0\r\n", b"5\r\n{}", b"0\r\nno header\r\n\r\n"]
)
def test_chunks_without_an_end_are_refused(end: bytes) -> None:
    with pytest.raises(BadResponseError):
        answered(CHUNKED + end)


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: -1",
        b"Content-Length: +2",
        b"Content-Length: 2, 2",
        b"Content-Length: 2\r\nContent-Length: 2",
        b"Content-Length: 2\r\ncontent-length: 3",
        b"Content-Length: 0x2",
        b"Content-Length:",
        b"Content-Length: \xb2",
        b"Content-Length: 9999999999999999999999",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Content-Encoding: gzip\r\nContent-Length: 2",
        b"Content-Encoding: deflate\r\nContent-Length: 2",
        b"Content-Encoding: identity, br\r\nContent-Length: 2",
        b"Content-Encoding:\r\nContent-Length: 2",
        b"no header",
        b": nameless",
        b"A : b",
        b"A: b\r\n folded",
        b"A: \x00",
        b"A: \x1b[2J",
        b"A: b\nC: d",
        b"A" * 200 + b": b",
    ],
)
def test_headers_that_bend_http_are_refused(fields: bytes) -> None:
    with pytest.raises(BadResponseError):
        answered(OK + fields + b"\r\n\r\n{}")


@pytest.mark.parametrize(
    "status",
    [
        b"{}",
        b"HTTP/0.9 200 OK",
        b"HTTP/2 200",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 600 x",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200OK",
        b"ICY 200 OK",
        b"",
        b"x" * 99,
    ],
)
def test_what_begins_as_no_answer_is_none(status: bytes) -> None:
    with pytest.raises(BadResponseError):
        answered(status + b"\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("status", [101, 300, 301, 302, 303, 304, 307, 308, 399])
def test_nobody_is_followed_elsewhere(status: int) -> None:
    with pytest.raises(BadResponseError):
        answered(b"HTTP/1.1 %d Go\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n" % status)


def test_a_few_interim_answers_are_passed_over_and_many_are_not() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n"
    whole = OK + b"Content-Length: 2\r\n\r\n{}"
    assert answered(interim * 3 + whole) == (200, b"{}")
    with pytest.raises(BadResponseError):
        answered(interim * 100 + whole)


@pytest.mark.parametrize(
    "fields", [b"a: b\r\n" * (FIELDS + 1), b"a: " + b"x" * HEAD_BYTES + b"\r\n", (b"a: " + b"x" * 1000 + b"\r\n") * 40]
)
def test_no_head_is_longer_than_heads_are(fields: bytes) -> None:
    with pytest.raises(BadResponseError):
        answered(OK + fields + b"Content-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 101\r\n\r\n",
        CHUNKED + b"65\r\n",
        CHUNKED + b"ffffffff\r\n",
        CHUNKED + b"32\r\n" + b"x" * 50 + b"\r\n33\r\n",
        OK + b"\r\n" + b"x" * 101,
    ],
)
def test_no_more_is_read_than_was_asked_for(data: bytes) -> None:
    """Where a length is told, not even the first byte of it: nothing follows here."""
    with pytest.raises(ResponseTooLongError):
        answered(data, most=100)


def test_chunks_that_hold_next_to_nothing_are_given_up() -> None:
    chunk = b"1;" + b"x" * 200 + b"\r\na\r\n"
    with pytest.raises(BadResponseError):
        answered(CHUNKED + chunk * 1000 + b"0\r\n\r\n")
    assert answered(CHUNKED + b"1\r\na\r\n" * 9000 + b"0\r\n\r\n") == (200, b"a" * 9000)


@pytest.mark.parametrize("data", [OK + b"Content-Length: 5\r\n\r\n{}", OK + b"Content-Le", b"HTTP/1.1 200"])
def test_an_answer_that_ends_too_early_is_none(data: bytes) -> None:
    with pytest.raises(FAILURES):
        answered(data)


def test_an_answer_without_content_needs_no_length() -> None:
    assert answered(b"HTTP/1.1 204 No Content\r\n\r\n") == (204, b"")
