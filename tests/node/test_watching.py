"""Watchers that are slow, stuck or broken: named, and nobody waits for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog
import trio
import trio.testing
from structlog.testing import capture_logs

import learnae
from learnae.node import reports
from learnae.node.reports import WAITING, WatcherCalls
from learnae.node.runtime import in_worker_threads
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.records import PeerId
from learnae.testing.context import make_runtime

ALICE, BOB = PeerId("a" * 64), PeerId("b" * 64)


def manager(**watchers: Callable[..., Any]) -> PluginManager:
    made = PluginManager(log=log())
    for name, function in watchers.items():
        function.__name__ = "learnae_peer_changed"
        made.register(type(name, (), {"learnae_peer_changed": staticmethod(learnae.hookimpl(function))})(), Plugin(name))
    return made


def log():
    return structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))


class Bell:
    """Rings in the trio thread when a watcher in another thread has been called so many times."""

    def __init__(self, times: int) -> None:
        self.calls: list[Any] = []
        self._times, self._token, self._rung = times, trio.lowlevel.current_trio_token(), trio.Event()

    def strike(self, what: Any) -> None:
        self.calls.append(what)
        if len(self.calls) == self._times:
            self._token.run_sync_soon(self._rung.set)

    async def wait(self) -> None:
        with trio.fail_after(30):
            await self._rung.wait()


async def running(nursery: trio.Nursery, made: PluginManager, in_thread: Any) -> WatcherCalls:
    watcher = WatcherCalls(made, make_runtime(in_thread=in_thread, log=log()))
    nursery.start_soon(watcher.run)
    return watcher


async def test_watchers_are_told_in_order_and_one_that_raises_is_named():
    with capture_logs() as logs:
        bell = Bell(2)

        def broken(peer, state):
            raise RuntimeError("oops")

        async with trio.open_nursery() as nursery:
            told = await running(nursery, manager(broken=broken, good=lambda peer, state: bell.strike((peer, state))), in_worker_threads(2))
            told.peer_changed(ALICE, "new")
            told.peer_changed(ALICE, "left")
            await bell.wait()
            nursery.cancel_scope.cancel()
        assert bell.calls == [(ALICE, "new"), (ALICE, "left")]
    assert {(line["event"], line["plugin"]) for line in logs} == {("watcher.failed", "broken")}


def test_one_that_is_stuck_is_cut_off_named_and_takes_no_more_than_one_thread(monkeypatch):
    monkeypatch.setattr(reports, "LIMIT_SECONDS", 0.05)
    released, stuck = threading.Event(), []

    async def main() -> None:
        bell = Bell(20)

        def hang(peer):
            stuck.append(peer)
            released.wait(30)

        async with trio.open_nursery() as nursery:
            limited = in_worker_threads(2, abandon=True)
            told = await running(nursery, manager(hang=hang, good=lambda peer: bell.strike(peer)), limited)
            for _ in range(20):
                told.peer_changed(ALICE, "new")
            await bell.wait()
            nursery.cancel_scope.cancel()
        assert len(bell.calls) == 20

    with capture_logs() as logs:
        try:
            trio.run(main)
        finally:
            released.set()
    assert stuck == [ALICE]
    assert [(line["event"], line["plugin"]) for line in logs] == [("watcher.slow", "hang")]


async def test_one_that_was_slow_once_is_told_again_when_it_has_caught_up(monkeypatch):
    monkeypatch.setattr(reports, "LIMIT_SECONDS", 0.05)
    released = threading.Event()

    started, ended, again = Bell(1), Bell(1), Bell(2)

    def slow(peer):
        again.strike(peer)
        if peer == ALICE:
            started.strike(peer)
            released.wait(30)

    def beside(peer):
        ended.strike(peer)

    async with trio.open_nursery() as nursery:
        told = await running(nursery, manager(slow=slow, beside=beside), in_worker_threads(2, abandon=True))
        told.peer_changed(ALICE, "new")
        await ended.wait()
        released.set()
        with trio.fail_after(30):
            while told._running:  # nothing tells that a thread has ended
                await trio.lowlevel.checkpoint()
        told.peer_changed(BOB, "new")
        await again.wait()
        nursery.cancel_scope.cancel()
    assert again.calls == [ALICE, BOB]


@pytest.mark.virtual_time
async def test_what_nobody_reads_is_bounded_and_said_once():
    with capture_logs() as logs:
        told = WatcherCalls(manager(), make_runtime(log=log()))
        for _ in range(10 * WAITING):
            told.peer_changed(ALICE, "new")
        assert told._channel[1].statistics().current_buffer_used == WAITING
        with trio.move_on_after(1):
            await told.run()
    assert [line["event"] for line in logs] == ["watcher.behind"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("hook", ["learnae_round_finished", "learnae_update_judged"])
async def test_without_watchers_nothing_happens(hook):
    told = WatcherCalls(manager(), make_runtime(log=log()))
    told._queue(hook, report=None)
    with trio.move_on_after(1):
        await told.run()
