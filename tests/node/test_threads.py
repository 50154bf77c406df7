"""The threads of one strategy hold up neither the core nor another strategy, however many of them hang."""

from __future__ import annotations

import threading
from functools import partial

import attrs
import pytest
import trio
import trio.testing

from learnae.config.load import load_document
from learnae.identity.keys import Identity
from learnae.node.history import History
from learnae.node.runtime import Runtime, in_worker_threads
from learnae.node.strategy_set import assemble
from learnae.plugins.manager import PluginManager
from learnae.records import AnnouncementKind
from learnae.testing.context import make_runtime

STUCK = 20


@pytest.fixture
def runtime(tmp_path) -> Runtime:
    """As a node in the field has them."""
    return attrs.evolve(make_runtime(tmp_path), in_thread=in_worker_threads(), threads=in_worker_threads)


@pytest.fixture
def strategies(tmp_path, runtime):
    manager = PluginManager.discover(only=())
    document = {
        "storage": [{"use": "directory", "path": str(tmp_path / "one")}, {"use": "directory", "path": str(tmp_path / "two")}],
        "announcer": {"use": "directory"},
        "gate": [{"use": "sane"}],
    }
    config = load_document(document, folder=tmp_path, options_of=manager.options_of(tmp_path))
    return assemble(config, manager, Identity.generate(bytes(32)).peer, runtime)


@attrs.define
class Jam:
    """Calls that hang until they are let go."""

    end: threading.Event = attrs.field(factory=threading.Event)
    running: int = 0

    def hang(self) -> None:
        self.running += 1
        self.end.wait()


async def jammed(jam: Jam, contexts, beside) -> None:
    """Run `beside` while all threads of these contexts hang."""
    async with trio.open_nursery() as nursery:
        for context in contexts:
            for _ in range(STUCK):
                nursery.start_soon(context.in_thread, jam.hang)
        try:
            await trio.testing.wait_all_tasks_blocked(0.01)
            await beside()
        finally:
            jam.end.set()


def test_the_history_is_written_while_all_threads_of_a_storage_and_an_announcer_hang(strategies, runtime, tmp_path):
    history, jam = History.open(tmp_path / "history.sqlite"), Jam()

    async def write() -> None:
        assert await runtime.in_thread(history.next_number, AnnouncementKind.UPDATE) == 1
        assert not jam.end.is_set() and jam.running >= 2

    contexts = [strategies.storages[0].strategy.context, strategies.announcers[0].strategy.context]
    trio.run(jammed, jam, contexts, write)


def test_every_strategy_has_threads_of_its_own(strategies):
    services = [*strategies.storages, *strategies.announcers]
    contexts = [
        named.strategy.context for named in (*services, strategies.selector, strategies.gates[0], strategies.merge, strategies.codec)
    ]

    async def work(context) -> None:
        assert await context.in_thread(lambda: 1) == 1

    for context in contexts:
        others = [each for each in contexts if each is not context]
        trio.run(jammed, Jam(), others, partial(work, context))


def test_a_storage_keeps_its_limit(strategies):
    jam = Jam()

    async def count() -> None:
        assert jam.running == 8

    trio.run(jammed, jam, [strategies.storages[0].strategy.context], count)


def test_codecs_gates_and_merges_are_called_in_threads_of_their_own_and_never_in_those_of_the_core(runtime):
    kinds = (runtime.in_thread, runtime.in_encoding_thread, runtime.in_decoding_thread, runtime.in_merging_thread)
    assert len(set(kinds)) == len(kinds)
