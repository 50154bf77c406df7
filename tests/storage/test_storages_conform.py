"""The built-in storages pass the kit that every storage must pass."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from learnae.plugins.directory.storage import DirectoryStorage
from learnae.plugins.memory import MemoryStorage
from learnae.testing.storage_kit import OpenStorage, StorageConformance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from learnae import Context, Storage


class TestDirectoryStorage(StorageConformance):
    @pytest.fixture
    def storage(self, learnae_contexts: Callable[[str], Context]) -> OpenStorage:
        return lambda peer: DirectoryStorage(DirectoryStorage.Options(), learnae_contexts(peer))

    @contextmanager
    def out_of_order(self, storage: Storage) -> Iterator[None]:
        """Something else stands where the folder was."""
        assert isinstance(storage, DirectoryStorage)
        aside = storage.folder.rename(storage.folder.with_name("aside"))
        storage.folder.write_text("no folder")
        yield
        storage.folder.unlink()
        aside.rename(storage.folder)


class TestMemoryStorage(StorageConformance):
    survives_reopen = False  # of its process

    @pytest.fixture
    def storage(self, learnae_contexts: Callable[[str], Context]) -> OpenStorage:
        return lambda peer: MemoryStorage(MemoryStorage.Options(), learnae_contexts(peer))
