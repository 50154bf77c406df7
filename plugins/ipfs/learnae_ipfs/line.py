"""A daemon's RPC over one wire, which can be cut off from another thread, whatever it is waiting for."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import ipfshttpclient.exceptions as client_errors
from ipfshttpclient.http_common import map_args_to_params, multiaddr_to_url_data

from learnae.lowlevel import HTTP_FAILURES, Endpoint, HttpClient, Response, ResponseTooLongError
from learnae_ipfs.reading import MOST_ANSWER_BYTES, MOST_COMPLAINT_BYTES, KuboRefusedError, NoComplaintError, answers, complaint

PATIENCE = 3  # times as long as a daemon may be silent: so long may an answer take that has begun to come
WORK_SECONDS = 900.0  # instead, for answers that come while the daemon works
WORK = frozenset({"block/rm", "dag/import", "pin/add", "pin/rm", "refs", "repo/gc"})
BASE = "/api/v0/"

FAILURES = (*HTTP_FAILURES, NoComplaintError)

__all__ = ["FAILURES", "KuboConnection", "KuboRefusedError", "NoComplaintError", "check_address"]


class KuboConnection:
    """For one thread at a time; `hang_up` may come from any other, and then every call fails at once, now and later."""

    def __init__(self, address: str, silence_seconds: float) -> None:
        """Raises ValueError for what is no address."""
        self.address = address
        self._wire = HttpClient(_place(address), silence_seconds)
        self._silence_seconds = silence_seconds

    @property
    def hung_up(self) -> bool:
        return self._wire.hung_up

    def ask(
        self, path: str, *args: str, data: Iterator[bytes] | None = None, headers: Mapping[str, str] | None = None, **opts: str
    ) -> Iterator[Any]:
        """The objects that the daemon answers with, one a line, as they come. Raises one of FAILURES."""
        body, target = b"" if data is None else data, _target(path, args, opts)
        seconds = WORK_SECONDS if path in WORK else PATIENCE * self._silence_seconds
        with self._wire.post(target, body, headers or {}, most_bytes=MOST_ANSWER_BYTES, answer_seconds=seconds) as answer:
            yield from answers(_allowed(answer))

    def order(
        self, path: str, *args: str, data: Iterator[bytes] | None = None, headers: Mapping[str, str] | None = None, **opts: str
    ) -> None:
        """The same where only matters that it is done: of what is answered nothing is kept."""
        for _ in self.ask(path, *args, data=data, headers=headers, **opts):
            pass

    def read(self, path: str, *args: str, most: int, silence_seconds: float | None = None, **opts: str) -> bytes | None:
        """The bytes that the daemon answers with; None for more than `most`, which are not read. Raises one of FAILURES."""
        target, bound, patience = _target(path, args, opts), max(most, MOST_COMPLAINT_BYTES), PATIENCE * self._silence_seconds
        with self._wire.post(target, b"", {}, most_bytes=bound, answer_seconds=patience, silence_seconds=silence_seconds) as answer:
            try:
                return _joined(_allowed(answer), most)
            except ResponseTooLongError:
                return None

    def hang_up(self) -> None:
        self._wire.hang_up()

    def close(self) -> None:
        self._wire.close()


def check_address(address: str) -> None:
    """Raises ValueError for what is no address of a daemon."""
    _place(address)


def _place(address: str) -> Endpoint:
    try:
        url, path, family, _ = multiaddr_to_url_data(address, "")
        parts = urlsplit(url)
        if path is not None:
            return Endpoint(path=path)
        return Endpoint(host=unquote(parts.hostname or ""), port=parts.port or 0, tls=parts.scheme == "https", family=family)
    except (client_errors.Error, ValueError):
        raise ValueError("must be an address such as /ip4/127.0.0.1/tcp/5001") from None


def _target(path: str, args: tuple[str, ...], opts: Mapping[str, str]) -> str:
    return f"{BASE}{path}?{urlencode(map_args_to_params(args, {'stream-channels': 'true', **opts}))}"


def _allowed(answer: Response) -> Iterator[bytes]:
    """Raises Refused, with what the daemon says, or NoComplaintError for any other status than 200."""
    if answer.status == 200:
        return answer.pieces
    if said := complaint(answer.pieces):
        raise KuboRefusedError(said, answer.status)
    raise NoComplaintError(f"status {answer.status} {http.client.responses.get(answer.status, '')}".rstrip(), answer.status)


def _joined(pieces: Iterator[bytes], most: int) -> bytes | None:
    whole, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            return None
        whole.append(piece)
    return b"".join(whole)
