"""Storages and announcers that do not open, that hang, that break: none of it is waited for without end, all of it is told once."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from learnae.errors import PluginError, UnavailableError
from learnae.node.blocking import CLOSE_SECONDS
from learnae.node.services import BACK_OFF_SECONDS, OPEN_SECONDS, REST_SECONDS

pytestmark = pytest.mark.virtual_time


class Moody:
    """A service that opens and closes as it is told: each start takes its next mood."""

    def __init__(self, *moods: Any, closing: Any = None) -> None:
        self.moods, self.closing, self.starts, self.closed = list(moods), closing, 0, False

    async def __aenter__(self) -> Moody:
        self.starts += 1
        await behave(self.moods.pop(0) if self.moods else None)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await behave(self.closing)
        self.closed = True


async def behave(mood: Any) -> None:
    await trio.lowlevel.checkpoint()
    if mood == "hang":
        await trio.sleep_forever()
    if isinstance(mood, Exception):
        raise mood


GONE = UnavailableError("the daemon is down")


def lines(logs: list[Any]) -> list[tuple[str, str]]:
    return [(line["event"], line["what"]) for line in logs]


async def test_what_opens_is_open_and_closes_at_the_end(bench):
    good = Moody()
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, good)
        assert made.services.is_open(made.named[0])
        made.services.close()
    assert good.closed
    assert made.outages == {}


async def test_one_that_is_unavailable_is_told_once_and_opened_again_with_back_off(bench):
    with capture_logs() as logs:
        began = 0.0
        down = Moody(GONE, GONE, GONE)
        async with trio.open_nursery() as nursery:
            made = await bench(nursery, down)
            assert not made.services.is_open(made.named[0])
            assert trio.current_time() == began
            await made.services.opened(made.named[0])
            assert trio.current_time() - began == sum(BACK_OFF_SECONDS[:3])
            made.services.close()
    assert lines(logs) == [("outage", "storage s0"), ("outage.over", "storage s0")]


async def test_one_that_hangs_while_opening_is_cut_off_and_tried_again(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Moody("hang"))
        assert trio.current_time() == OPEN_SECONDS
        await made.services.opened(made.named[0])
        made.services.close()


async def test_the_others_do_not_wait_for_one_that_hangs(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Moody("hang"), Moody())
        assert [made.services.is_open(named) for named in made.named] == [False, True]
        made.services.close()


async def test_a_plugin_that_breaks_at_its_first_start_is_a_failure_that_names_it(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Moody(TypeError("wrong version")), Moody())
        made.services.close()
    assert isinstance(made.services.failure, PluginError)
    assert made.services.failure.plugin == "plugin-0"
    assert "wrong version" in str(made.services.failure)


async def test_a_plugin_that_breaks_later_is_an_outage(bench):
    moody = Moody(GONE, TypeError("wrong answer"))
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, moody)
        await made.services.opened(made.named[0])
        assert (moody.starts, made.services.failure) == (3, None)
        made.services.close()


class Collapsing(Moody):
    """Opens, and breaks down some time later, as a background task of its own does."""

    async def __aenter__(self) -> Moody:
        await super().__aenter__()
        self._nursery = trio.open_nursery()
        (await self._nursery.__aenter__()).start_soon(self._collapse)
        return self

    async def __aexit__(self, *exc_info: Any) -> Any:
        return await self._nursery.__aexit__(*exc_info)

    async def _collapse(self) -> None:
        await trio.sleep(10 if self.starts == 1 else float("inf"))
        raise OSError("the connection broke")


async def test_one_that_collapses_while_open_is_told_and_opened_again(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Collapsing())
        await trio.sleep(10.1)
        assert not made.services.is_open(made.named[0])
        assert "the connection broke" in made.outages["storage s0"]
        await made.services.opened(made.named[0])
        assert made.outages == {}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("closing", ["hang", RuntimeError("cannot close")])
async def test_one_that_does_not_close_well_is_left_behind(bench, closing):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Moody(closing=closing))
        made.services.close()
    assert trio.current_time() <= CLOSE_SECONDS
    assert made.services.failure is None


async def test_leaving_does_not_wait_for_one_that_is_still_down(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Moody(*[GONE] * 100))
        await trio.sleep(100)
        made.services.close()
    assert trio.current_time() == 100


# -- calls -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [GONE, OSError("odd"), ExceptionGroup("odd", [GONE])])
async def test_whatever_a_call_raises_is_an_outage_that_is_told_once_and_over_once(bench, error):
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            made = await bench(nursery, Moody())
            for mood in (error, error, None, None):
                with made.services.using(made.named[0], "putting", 5) as attempt:
                    await behave(mood)
                assert attempt.worked == (mood is None)
            made.services.close()
    assert lines(logs) == [("outage", "putting by storage s0"), ("outage.over", "putting by storage s0")]


async def test_what_works_ends_no_outage_of_something_else(bench):
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            made = await bench(nursery, Moody())
            for doing, mood in (("putting", GONE), ("dropping", None), ("putting", GONE)):
                with made.services.using(made.named[0], doing, 5):
                    await behave(mood)
            made.services.close()
    assert lines(logs) == [("outage", "putting by storage s0")]


async def test_a_call_that_hangs_is_cut_off_and_the_service_left_alone_longer_and_longer(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Moody())
        for rest in (*REST_SECONDS, REST_SECONDS[-1]):
            began = trio.current_time()
            with made.services.using(made.named[0], "putting", 5):
                await behave("hang")
            assert trio.current_time() - began == 5
            assert not made.services.ready(made.named[0])
            await trio.sleep(rest)
            assert made.services.ready(made.named[0])
        with made.services.using(made.named[0], "putting", 5):
            await behave(None)
        with made.services.using(made.named[0], "putting", 5):
            await behave("hang")
        await trio.sleep(REST_SECONDS[0])
        assert made.services.ready(made.named[0])
        made.services.close()


async def test_being_cancelled_is_no_outage(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Moody())
        with trio.move_on_after(1), made.services.using(made.named[0], "putting", 5) as attempt:
            await behave("hang")
        assert (attempt.worked, made.outages) == (False, {})
        made.services.close()
