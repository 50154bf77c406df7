"""The storage `ipfs`: blocks in a Kubo daemon, one of the peer's own or one that runs already and may be shared with others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, Self

from learnae import Block, Cid, ConfigError, Context, Problem, Storage, UnavailableError, UpdateRejectedError
from learnae.lowlevel import parse_cid
from learnae_ipfs.answers import ask
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import KuboRefusedError
from learnae_ipfs.managed.peer import OwnDaemon, settings_of
from learnae_ipfs.managed.remarks import Preview
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.meetings import Meetings
from learnae_ipfs.mending import mend
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.pins import Pins
from learnae_ipfs.remarks import Visit
from learnae_ipfs.search import ProviderSearch, own_hints
from learnae_ipfs.versions import OLDEST, dotted


class IpfsStorage(Storage):
    """Keeps blocks in a Kubo daemon. It pins its own roots under its own name, and changes no other pin."""

    Options = IpfsStorageOptions

    def __init__(self, options: IpfsStorageOptions, context: Context) -> None:
        super().__init__(options, context)
        self._repo = repo = Repo(options.repo or context.home / "repo")
        self._name = f"the IPFS daemon at {options.address or repo.folder}"
        self._daemon = Daemon(lambda: options.address or repo.address, self._name, options.silence_seconds, context.in_thread)
        self._meetings = Meetings(self._daemon)
        self._pins = Pins.of(context, self._daemon)
        self._own = OwnDaemon.of(options, context, repo, self._pins, self._look) if options.managed else None
        self._hints: tuple[str, ...] = ()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._daemon.close)
            if self._own is None:
                await self._look()
            else:
                await stack.enter_async_context(self._own)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def check(self) -> Sequence[str]:
        settings = settings_of(self.options, self.context)
        if self._own is not None:
            return await self.context.in_thread(Preview(self.options.program, self._repo, settings).remarks)
        if (address := self._daemon.where()) is None:
            raise ConfigError(Problem("storage.repo", f"no daemon runs on {self._repo.folder}", "start it: `ipfs daemon`"))
        try:
            return await Visit(self._daemon, address).remarks(settings.swarm_key)
        finally:
            self._daemon.close()

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        async with self._uncollected():
            try:
                await self._pins.add(root, blocks)
            except KuboRefusedError as error:
                raise self._refused(error) from error
        if self._own is None:
            try:
                with contextlib.suppress(UnavailableError):  # the root is kept, whatever becomes of the daemon now
                    await self._look()  # one that was started anew may be reached elsewhere
            except BaseException:  # cancelled, in a group of a nursery inside
                await self._pins.undo(root)
                raise

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        search = ProviderSearch(self._daemon, dict.fromkeys(cids), deliver)
        await search.locally()
        if search.wanted and not search.outage:
            await search.beside(partial(self._meetings.meet, hints), partial(self._search, search))
            await self._pins.aside.bring_back()
        if search.wanted:
            cause = str(search.outage) if search.outage else f"not found by {self._name}"
            if search.damaged:
                cause += f"; damaged on its disk, and not to be removed: {len(search.damaged)}"
            raise UnavailableError(f"{len(search.wanted)} of {len(cids)} blocks did not come: {cause}", search.wanted)

    async def _search(self, search: ProviderSearch) -> None:
        if search.damaged:
            await mend(search, self._pins, self.options.search_seconds)
        await search.everywhere(self.options.search_seconds)

    async def drop(self, root: Cid) -> None:
        try:
            await self._pins.remove(parse_cid(root))
        except UpdateRejectedError:
            return  # nothing that could ever have been put
        except KuboRefusedError as error:
            raise self._refused(error) from error
        if self._own is not None:
            self._own.collector.dropped = True

    async def roots(self) -> Sequence[Cid]:
        try:
            return await self._pins.roots()
        except KuboRefusedError as error:
            raise self._refused(error) from error

    def hints(self) -> Sequence[str]:
        return self._hints

    async def _look(self) -> None:
        """See that the daemon can be used, and where others reach it now. Raises UnavailableError."""
        try:
            version = (await self._daemon.call(lambda line: ask(line, "version"))).version
            if version < OLDEST:
                raise UnavailableError(f"{self._name} is {f'Kubo {dotted(version)}' if version else 'no Kubo'}; 0.38 or newer is needed")
            self._hints = await self._daemon.call(own_hints)
        except KuboRefusedError as error:
            raise self._refused(error) from error

    def _uncollected(self) -> AbstractAsyncContextManager[Any]:
        return contextlib.nullcontext() if self._own is None else self._own.collector.putting

    def _refused(self, error: Exception) -> UnavailableError:
        return UnavailableError(f"{self._name} refuses: {error}")
