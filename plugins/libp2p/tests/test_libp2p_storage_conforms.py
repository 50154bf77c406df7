"""The storage `libp2p` on real hosts: what the kit asks of every storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import attrs
import pytest
import trio

from learnae import Budgets
from learnae.testing.context import SharedResources, make_context
from learnae.testing.published import OpenStorage, fetched, payloads, published, same
from learnae.testing.storage_kit import StorageConformance

pytest.importorskip("libp2p", reason="needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev")

from learnae_libp2p.storage import Libp2pStorage, Libp2pStorageOptions

LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


class MeetingStorage(Libp2pStorage):
    """Connects to all others of its test as soon as it is open, since the kit gives no hints."""

    others: list[Libp2pStorage]

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for other in self.others:
            if other.transport.peer != self.transport.peer:
                await self.transport.connect(other.transport.peer, other.transport.local_addresses())
        self.others.append(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.others.remove(self)
        await super().__aexit__(*exc_info)


class TestLibp2pStorage(StorageConformance):
    timeout_seconds = 60.0

    @pytest.fixture
    def storage(self, tmp_path: Path) -> OpenStorage:
        """Several of one peer share a host, as strategies of one run do."""
        shared: dict[str, SharedResources] = {}
        others: list[Libp2pStorage] = []

        def make(peer: str) -> MeetingStorage:
            context = make_context(tmp_path / peer / "storage", peer=peer, shared=shared.setdefault(peer, SharedResources()))
            storage = MeetingStorage(Libp2pStorageOptions(listen=LOOPBACK, mdns=False), context)
            storage.others = others
            return storage

        return make

    @contextmanager
    def out_of_order(self, service: Libp2pStorage) -> Iterator[None]:
        """The disk; other peers may be away at any time."""
        folder = service.context.home
        folder.rename(folder.with_name("aside"))
        try:
            yield
        finally:
            folder.with_name("aside").rename(folder)


def test_twenty_megabytes_come_from_a_peer_that_only_a_hint_names_and_once_more_from_the_own_disk(tmp_path: Path) -> None:
    async def main() -> None:
        update = published("large", *payloads(40, length=524_288))
        options = Libp2pStorageOptions(listen=LOOPBACK, mdns=False)
        async with Libp2pStorage(options, make_context(tmp_path / "b", peer="b")) as asker:
            async with Libp2pStorage(options, make_context(tmp_path / "a", peer="a")) as holder:
                await holder.put(update.root, update.blocks)
                found: dict[str, bytes] = {}
                with trio.fail_after(60.0):
                    await asker.get(update.cids, lambda block: found.update({block.cid: block.data}), hints=holder.hints())
            assert same(found, update)  # type: ignore[arg-type]
            assert same(await fetched(asker, update.cids), update)

    trio.run(main)


def test_storages_of_one_peer_send_and_fetch_from_one_account_that_the_file_bounds(tmp_path: Path) -> None:
    async def main() -> None:
        made = make_context(tmp_path / "a", peer="a")
        context = attrs.evolve(made, budgets=Budgets(upload_bytes_per_second=50_000, download_bytes_per_hour=1_000_000))
        options = Libp2pStorageOptions(listen=LOOPBACK, mdns=False)
        async with Libp2pStorage(options, context) as one, Libp2pStorage(options, attrs.evolve(context, home=tmp_path / "b")) as other:
            upload = {id(server.budget) for server in one.active.servers}
            assert len(one.active.servers) == 2 and len(upload) == 1
            assert one.active.servers[0].budget.budget.per_second == 50_000
            assert one.fetcher is not None and other.fetcher is not None
            assert one.fetcher.budget is other.fetcher.budget and one.fetcher.budget.per_hour == 1_000_000

    trio.run(main)
