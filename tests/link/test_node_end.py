"""The node's end, driven by a trainer that is only a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import attrs
import numpy as np
import pytest
import trio
import trio.testing

from learnae.errors import ConfigError, PluginError, Problem
from learnae.link import memory
from learnae.link.memory import Layout
from learnae.link.messages import (
    MAX_LINE,
    MAX_START,
    Adopted,
    Failed,
    Hello,
    Lines,
    Link,
    MergeResult,
    Message,
    Release,
    Report,
    Start,
    Taken,
    TrainerGoneError,
    TrainerProgress,
    Want,
)
from learnae.link.node_end import NodeLink, open_link
from learnae.observations import UpdateVerdict
from learnae.records import Cid, PeerId, TensorSpec
from tests.support.records import a_report

SPECS = (TensorSpec(name="w", dtype="float32", shape=(4,)),)
REPORT = a_report(seconds=0.5, lineage=b"lineage8", age=7)


def progress(adoption: int = 0) -> TrainerProgress:
    return TrainerProgress(adoption, b"", 5, 5, 5, 0.1)


def offer(number: int, slot: int = 0) -> MergeResult:
    return MergeResult("session", number, 0, slot, b"lineage8", 0, "merged")


class Trainer:
    """Says what a trainer would say, and reads what the node says."""

    def __init__(self, ours: socket.socket, fd: int) -> None:
        self.socket, self.fd, self.lines = ours, fd, Lines()
        layout = Layout.of(SPECS)
        shared = memory.view(fd, layout.total_bytes)
        self.slots = [layout.slot(shared, index, writable=True)["w"] for index in range(2)]
        self.pages = [layout.page(shared, index, writable=True)["w"] for index in range(2)]
        self.file = ours.makefile("rb")

    def say(self, message: Message) -> None:
        self.socket.sendall(self.lines.encode(message, MAX_START))

    async def hear(self) -> Message:
        return self.lines.decode(await trio.to_thread.run_sync(self.file.readline))

    def start(self, adoption: int = 0) -> Start:
        return Start(Hello("run", "session", progress(adoption), SPECS), {"a": 1}, "folder", "home", os.dup(self.fd))


@contextmanager
def trainer() -> Iterator[tuple[Trainer, int]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    fd = memory.create(Layout.of(SPECS).total_bytes)
    one = Trainer(ours, fd)
    try:
        yield one, theirs.detach()
    finally:
        one.file.close()
        ours.close()
        os.close(fd)


@asynccontextmanager
async def linked(adoption: int = 0) -> AsyncIterator[tuple[Trainer, NodeLink]]:
    with trainer() as (one, fd):
        one.say(one.start(adoption))
        start, link = await open_link(["--link-fd", str(fd)])
        os.close(start.memory_fd)
        try:
            yield one, link
        finally:
            await link.aclose()


async def test_the_start_message_arrives_and_descriptors_stop_being_inherited() -> None:
    with trainer() as (one, fd):
        sent = one.start()
        one.say(sent)
        start, link = await open_link(["--link-fd", str(fd)])
        assert start == sent and link.hello == sent.hello
        assert not os.get_inheritable(start.memory_fd) and not os.get_inheritable(fd)
        _: Link = link
        await link.aclose()
        os.close(start.memory_fd)


async def test_a_start_message_may_be_longer_than_a_line() -> None:
    with trainer() as (one, fd):
        specs = tuple(TensorSpec(name=f"layer.{i}.weight", dtype="float32", shape=(1,)) for i in range(3000))
        start = attrs.evolve(one.start(), hello=attrs.evolve(one.start().hello, specs=specs))
        line = one.lines.encode(start, MAX_START)
        assert len(line) > 2 * MAX_LINE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, one.socket.sendall, line)
            with pytest.raises(ValueError, match="length is greater"):  # the memory here is for one tensor
                await open_link(["--link-fd", str(fd)])


async def test_a_node_that_is_started_by_hand_is_told_so() -> None:
    for argv in ([], ["--link-fd"], ["--link-fd", "x"]):
        with pytest.raises(ConfigError, match="not started by hand"):
            await open_link(argv)


async def test_a_trainer_that_ends_before_it_says_anything_is_gone() -> None:
    with trainer() as (one, fd):
        one.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(TrainerGoneError):
            await open_link(["--link-fd", str(fd)])


async def test_asking_for_a_snapshot_says_so_once_and_brings_it() -> None:
    async with linked() as (one, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.next_snapshot)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        one.slots[1][:] = [1, 2, 3, 4]
        one.say(Taken(1, progress()))
        snapshot = await link.next_snapshot()
        assert (snapshot.slot, snapshot.progress, snapshot.tensors["w"].tolist()) == (1, progress(), [1, 2, 3, 4])
        with pytest.raises(ValueError, match="read-only"):
            snapshot.tensors["w"][0] = 0.0
        link.release(1)
        assert [await one.hear(), await one.hear()] == [Want(), Release(1)]


async def test_the_newest_snapshot_wins_and_older_ones_go_back() -> None:
    async with linked() as (one, link):
        one.say(Taken(0, progress()))
        one.say(Taken(1, progress()))
        assert await one.hear() == Release(0)
        assert (await link.next_snapshot()).slot == 1


async def test_a_snapshot_that_is_said_twice_is_taken_once() -> None:
    async with linked() as (one, link):
        for _ in range(2):
            one.say(Taken(0, progress(), number=1))
        one.say(Adopted(0))
        await trio.testing.wait_all_tasks_blocked()
        assert (await link.next_snapshot()).slot == 0
        one.say(Taken(0, progress(), number=1))
        one.say(Taken(1, progress(), number=2))
        assert (await link.next_snapshot()).slot == 1


async def test_a_snapshot_without_the_offer_goes_back_unseen() -> None:
    async with linked() as (one, link):
        one.say(Taken(0, progress()))
        await trio.testing.wait_all_tasks_blocked()
        assert (await link.next_snapshot()).slot == 0
        link.offer(offer(1))
        one.say(Taken(1, progress(adoption=0)))
        one.say(Adopted(1))
        await link.adopted(1)
        assert link._taken is None
        assert [await one.hear(), await one.hear()] == [offer(1), Release(1)]
        one.say(Taken(1, progress(adoption=1)))
        assert (await link.next_snapshot()).progress.adoption == 1


async def test_a_page_is_written_where_the_trainer_reads() -> None:
    async with linked() as (one, link):
        link.page(1)["w"][:] = np.arange(4)
        link.offer(offer(1))
        assert await one.hear() == offer(1)
        assert one.pages[1].tolist() == [0, 1, 2, 3]


async def test_what_the_hello_names_is_adopted_already() -> None:
    async with linked(adoption=7) as (_, link):
        await link.adopted(7)


async def test_waiting_ends_when_the_trainer_is_gone() -> None:
    async with linked() as (one, link):
        async with trio.open_nursery() as nursery:

            async def wait(what: Callable[[], Awaitable[object]]) -> None:
                with pytest.raises(TrainerGoneError):
                    await what()

            nursery.start_soon(wait, link.next_snapshot)
            nursery.start_soon(wait, lambda: link.adopted(1))
            await trio.testing.wait_all_tasks_blocked()
            one.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(TrainerGoneError):
            await link.next_snapshot()


async def test_a_trainer_that_talks_nonsense_is_gone() -> None:
    async with linked() as (one, link):
        one.socket.sendall(b"nonsense\n")
        with pytest.raises(TrainerGoneError):
            await link.next_snapshot()


async def test_a_trainer_that_names_a_slot_that_is_none_is_gone() -> None:
    for slot in (-1, 2, 2**63):
        async with linked() as (one, link):
            one.say(Taken(slot, progress()))
            with pytest.raises(TrainerGoneError):
                await link.next_snapshot()


async def test_a_line_that_never_ends_is_not_kept() -> None:
    async with linked() as (one, link), trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, one.socket.sendall, b"x" * (MAX_LINE + 100))
        with pytest.raises(TrainerGoneError):
            await link.next_snapshot()


async def test_a_report_that_does_not_fit_goes_without_its_verdicts() -> None:
    verdict = UpdateVerdict(
        round=1, peer=PeerId("ab" * 32), number=5, root=Cid("bafy"), merged=False, weight=0.0, scale=1.0, stage="fetch", reason="x" * 1000
    )
    async with linked() as (one, link):
        link.send_report(attrs.evolve(REPORT, verdicts=(verdict,) * 100), {"storage": "full"})
        link.send_report(attrs.evolve(REPORT, verdicts=(verdict,)), {"storage": "full"})
        assert await one.hear() == Report(REPORT)
        assert await one.hear() == Report(attrs.evolve(REPORT, verdicts=(verdict,)), {"storage": "full"})


async def test_reports_that_nobody_reads_are_left_out_and_offers_are_not() -> None:
    async with linked() as (one, link):
        for _ in range(5000):
            link.send_report(REPORT, {})
        link.offer(offer(1))
        heard = 0
        while await one.hear() != offer(1):
            heard += 1
        assert heard < 5000


async def test_the_last_words_are_written_before_the_link_closes() -> None:
    async with linked() as (one, link):
        link.fail(KeyError("x"))
        await link.aclose()
        said = await one.hear()
        assert getattr(said, "text", "") == "KeyError: 'x'"
        link.release(0)
        link.send_report(REPORT, {})


LAST_WORDS = {
    "Chinese": RuntimeError("错误" * 4000),
    "pictures": RuntimeError("😀" * 30_000),
    "of a plugin": PluginError("p" * 100, "воспоминание" * 3000, "ошибка" * 9000),
    "many problems": ConfigError([Problem(f"ключ.{i}", "ошибка" * 100, "исправить" * 100) for i in range(500)]),
    "one long problem": ConfigError([Problem("ключ", "😀" * 30_000)]),
}


@pytest.mark.parametrize("error", LAST_WORDS.values(), ids=list(LAST_WORDS))
def test_the_last_words_of_a_node_arrive_however_long_and_say_who_must_act(error: Exception) -> None:
    async def main() -> Message:
        async with linked() as (one, link):
            link.fail(error)
            return await one.hear()

    failed = trio.run(main)
    assert isinstance(failed, Failed) and failed.text
    assert type(failed.as_error()) is (type(None) if isinstance(error, RuntimeError) else type(error))
