"""The storage passes the kit against a real daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from learnae.testing.storage_kit import OpenStorage, StorageConformance
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

if TYPE_CHECKING:
    from learnae import Context, Storage

NOBODY_THERE = "/ip4/127.0.0.1/tcp/1"


class TestIpfsStorage(StorageConformance):
    frees_on_drop = False  # unpinned: the daemon's owner collects garbage, nobody else

    @contextmanager
    def out_of_order(self, storage: Storage) -> Iterator[None]:
        """The daemon cannot be reached any more where it was."""
        assert isinstance(storage, IpfsStorage)
        daemon, where = storage._daemon, storage._daemon.where
        daemon.where = lambda: NOBODY_THERE
        yield
        daemon.where = where

    @pytest.fixture
    def storage(self, shared_kubo: Any, learnae_contexts: Callable[[str], Context]) -> Iterator[OpenStorage]:
        options = IpfsStorageOptions(address=shared_kubo.address, search_seconds=1.0)
        yield lambda peer: IpfsStorage(options, learnae_contexts(peer))
        for name in shared_kubo.ipfs("pin", "ls", "--type=recursive", "--name=learnae/").splitlines():
            shared_kubo.ipfs("pin", "rm", name.split()[0])
