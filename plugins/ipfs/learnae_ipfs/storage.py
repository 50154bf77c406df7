"""The storage `ipfs`: blocks in a Kubo daemon that runs already, yours or one that you share with others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import attrs
from attrs.validators import gt

from learnae import Block, Cid, Context, Storage, Unavailable, UpdateRejected
from learnae.config.tables import key
from learnae.content.cids import parse_cid
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import Line, Refused, check_address
from learnae_ipfs.mending import mend
from learnae_ipfs.pins import Pins
from learnae_ipfs.search import Search, meet, own_hints

OLDEST = (0, 38)  # before it, the names of pins were not told reliably


def _address(_: object, __: Any, address: str) -> None:
    check_address(address)


@attrs.frozen
class IpfsStorageOptions:
    address: str = key("/ip4/127.0.0.1/tcp/5001", "The RPC address of the daemon.", _address)
    search_seconds: float = key(10.0, "How long the network is searched without a block coming in.", gt(0.0))
    silence_seconds: float = key(30.0, "How long the daemon may be silent before it counts as gone.", gt(0.0))


class IpfsStorage(Storage):
    """Pins its own roots under its own name, and touches nothing else: garbage is collected by whoever runs the daemon."""

    Options = IpfsStorageOptions

    def __init__(self, options: IpfsStorageOptions, context: Context) -> None:
        super().__init__(options, context)
        self._daemon = Daemon(options.address, options.silence_seconds, context.in_thread)
        self._pins = Pins.of(context, self._daemon)
        self._hints: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        try:
            version = await self._call(_version)
            if version < OLDEST:
                raise Unavailable(f"the IPFS daemon at {self.options.address} is Kubo {version[0]}.{version[1]}; 0.38 or newer is needed")
            self._hints = await self._call(own_hints)
        except BaseException:
            self._daemon.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._daemon.close()

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        try:
            await self._pins.add(root, blocks)
        except Refused as error:
            raise self._refused(error) from error
        with contextlib.suppress(Unavailable):  # the root is kept, whatever becomes of the daemon now
            self._hints = await self._call(own_hints)  # one that was started anew may be reached elsewhere

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        search = Search(self._daemon, dict.fromkeys(cids), deliver)
        await search.locally()
        if search.wanted and not search.outage:
            await meet(self._daemon, hints)
            if search.damaged:
                await mend(search, self._pins, self.options.search_seconds)
            await search.everywhere(self.options.search_seconds)
        if search.wanted:
            cause = str(search.outage) if search.outage else f"not found by the IPFS daemon at {self.options.address}"
            if search.damaged:
                cause += f"; damaged on its disk, and not to be removed: {len(search.damaged)}"
            raise Unavailable(f"{len(search.wanted)} of {len(cids)} blocks did not come: {cause}", search.wanted)

    async def drop(self, root: Cid) -> None:
        try:
            await self._pins.remove(parse_cid(root))
        except UpdateRejected:
            return  # nothing that could ever have been put
        except Refused as error:
            raise self._refused(error) from error

    async def roots(self) -> Sequence[Cid]:
        try:
            return await self._pins.roots()
        except Refused as error:
            raise self._refused(error) from error

    def hints(self) -> Sequence[str]:
        return self._hints

    async def _call(self, function: Callable[[Line], Any]) -> Any:
        try:
            return await self._daemon.call(function)
        except Refused as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> Unavailable:
        return Unavailable(f"the IPFS daemon at {self.options.address} refuses: {error}")


def _version(line: Line) -> tuple[int, ...]:
    text = str(next(line.ask("version"))["Version"])
    return tuple(int(number) for number in text.split("-")[0].split(".")[:2])
