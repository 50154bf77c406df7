"""How two ends agree on a protocol, bounded: the library reads a name of any length, and answers any number of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

NAME_BYTES = 1024
MOST_NAMES = 32  # that the other end says for one agreement


class BoundedCommunicator(MultiselectCommunicator):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Names of protocols, each way."""

    def __init__(self, read_writer: Any) -> None:
        super().__init__(read_writer)
        self._left = MOST_NAMES

    async def read(self) -> str:
        """Raises MultiselectCommunicatorError."""
        self._left -= 1
        if self._left < 0:
            raise MultiselectCommunicatorError("the other end names protocol after protocol")
        try:
            name: bytes = await read_varint_prefixed_bytes_limited(self.read_writer, NAME_BYTES)
        except (ParseError, IOException) as error:
            raise MultiselectCommunicatorError("no name of a protocol came") from error
        if not name.endswith(b"\n"):
            raise MultiselectCommunicatorError("what came is no name of a protocol")
        return name[:-1].decode()


def bound_negotiations(*owners: Any) -> None:
    """Each has the library's two ways to agree: of who is asked, and of who asks."""
    for owner in owners:
        owner.multiselect.negotiate = _answering(owner.multiselect.negotiate)
        owner.multiselect_client.select_one_of = _asking(owner.multiselect_client.select_one_of)


def _answering(negotiate: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def bounded(communicator: MultiselectCommunicator, *more: Any) -> Any:
        return await negotiate(BoundedCommunicator(communicator.read_writer), *more)

    return bounded


def _asking(select: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def bounded(protocols: Sequence[Any], communicator: MultiselectCommunicator, *more: Any) -> Any:
        return await select(protocols, BoundedCommunicator(communicator.read_writer), *more)

    return bounded
