"""A group of one error counts as that error, in the kits as in the core: nurseries raise nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from learnae.plugins.memory import MemoryAnnouncer
from learnae.testing.announcer_kit import AnnouncerConformance
from learnae.testing.context import SharedResources, make_context
from learnae.testing.kit import failing
from tests.support.breakable_storage import Breakable


@contextmanager
def grouped() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ExceptionGroup("of some nursery", [error]) from None


class GroupingStorage(Breakable):
    async def put(self, *args: Any) -> None:
        with grouped():
            await super().put(*args)

    async def get(self, *args: Any, **kwargs: Any) -> None:
        with grouped():
            await super().get(*args, **kwargs)

    async def drop(self, *args: Any) -> None:
        with grouped():
            await super().drop(*args)

    async def roots(self) -> Any:
        with grouped():
            return await super().roots()


class GroupingAnnouncer(MemoryAnnouncer):
    async def announce(self, *args: Any, **kwargs: Any) -> None:
        with grouped():
            await super().announce(*args, **kwargs)


def test_a_storage_that_raises_groups_of_one_passes_its_kit(caught_storage) -> None:
    assert caught_storage(GroupingStorage) == caught_storage(Breakable)


def test_an_announcer_that_raises_groups_of_one_passes_its_kit(tmp_path_factory: pytest.TempPathFactory) -> None:
    def announcer() -> Any:
        shared, home = SharedResources(), tmp_path_factory.mktemp("homes")
        return lambda peer: GroupingAnnouncer(GroupingAnnouncer.Options(), make_context(home / peer, peer=peer, shared=shared))

    assert failing(AnnouncerConformance(), announcer) == {}
