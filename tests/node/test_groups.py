"""What a service with a nursery of its own raises comes in a group: it counts as the gravest that is in it, wherever it is raised."""

from __future__ import annotations

import math

import pytest
import trio
from structlog.testing import capture_logs

from learnae.content.cids import raw_cid
from learnae.errors import ConfigError, LearnaeError, PluginError, Problem, UnavailableError, UpdateRejectedError
from learnae.node.runtime import PluginCalls, in_worker_threads
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.calls import naming

pytestmark = pytest.mark.virtual_time

DOWN = UnavailableError("the daemon is down")
ODD = TypeError("wrong version")
ONE, TWO = raw_cid(b"1"), raw_cid(b"2")


def group(*errors: BaseException) -> BaseExceptionGroup:
    return BaseExceptionGroup("of some nursery", list(errors))


def raised(error: BaseException, *ours: type) -> BaseException:
    with pytest.raises(LearnaeError) as caught, PluginCalls().calling("storage s", "p", "putting", 0.0, ours or (UnavailableError,)):
        raise error
    return caught.value


@pytest.mark.parametrize("wrapped", [group(DOWN), group(group(DOWN)), group(group(group(DOWN)))], ids=["one", "two", "three"])
def test_an_outage_in_a_group_however_deep_is_that_outage(wrapped):
    assert raised(wrapped) is DOWN


def test_several_outages_are_one_that_names_all_that_is_missing():
    told = raised(group(UnavailableError("here", [ONE]), group(UnavailableError("there", [TWO, ONE]))))
    assert isinstance(told, UnavailableError)
    assert told.missing == (ONE, TWO)
    assert "here" in str(told) and "there" in str(told)


@pytest.mark.parametrize("errors", [(DOWN, ODD), (ODD, DOWN), (DOWN, group(DOWN, group(ODD)))], ids=["after", "before", "deep"])
def test_a_mistake_beside_an_outage_is_what_counts_and_is_named(errors):
    told = raised(group(*errors))
    assert isinstance(told, PluginError)
    assert "TypeError: wrong version" in str(told)
    assert told.__cause__ is ODD


def test_a_plugin_error_in_a_group_stays_the_one_it_is():
    inner = PluginError("codec c", "decoding", "no")
    assert raised(group(DOWN, group(inner))) is inner


@pytest.mark.parametrize("error", [UpdateRejectedError("nan"), ConfigError(Problem("a", "b"))], ids=["update", "config"])
def test_an_error_that_a_call_may_not_raise_is_a_mistake_alone_and_in_a_group(error):
    for each in (error, group(DOWN, error)):
        told = raised(each)
        assert isinstance(told, PluginError)
        assert type(error).__name__ in str(told)


def test_where_it_may_be_raised_it_passes():
    rejected = UpdateRejectedError("nan")
    assert raised(group(rejected), UpdateRejectedError) is rejected


class Boom(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit(3), Boom("bang"), group(DOWN, SystemExit(3))], ids=["exit", "base", "group"])
def test_nothing_that_a_plugin_raises_ends_the_program(error):
    assert isinstance(raised(error), PluginError)
    with pytest.raises(PluginError), naming("p", "merging"):
        raise error


def test_an_exception_that_cannot_be_told_is_named_by_its_type():
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    assert "Unspeakable" in str(raised(Unspeakable()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Boom, StopIteration])
def test_what_is_raised_in_a_worker_thread_is_the_plugins_mistake(error):
    def fail() -> None:
        raise error

    async def main() -> None:
        with PluginCalls().calling("storage s", "p", "putting", 0.0, (UnavailableError,)):
            await in_worker_threads()(fail)

    with pytest.raises(PluginError, match=f"'p' failed while putting.*{error.__name__}"):
        trio.run(main)


def test_an_interrupt_in_a_thread_of_the_core_is_the_plugins_mistake_there():
    def judge() -> None:
        with PluginCalls().calling("gate g", "p", "judging", 0.0, ()):
            raise KeyboardInterrupt

    async def main() -> None:
        await trio.to_thread.run_sync(judge)

    with pytest.raises(PluginError, match="'p' failed while judging"):
        trio.run(main)


async def test_a_group_of_nothing_but_cancellation_passes():
    with trio.move_on_after(1) as limit, ConfiguredStrategy("s", "p", None).calling("putting"):  # type: ignore[type-var]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert (limit.cancelled_caught, limit.cancel_called) == (True, True)


async def test_an_error_while_it_is_cancelled_is_told_and_the_cancellation_goes_on():
    async def breaking() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ODD

    told = ""
    with trio.move_on_after(1):
        try:
            with ConfiguredStrategy("s", "p", None).calling("putting"):  # type: ignore[type-var]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(breaking)
                    await trio.sleep_forever()
        except PluginError as error:
            told = str(error)
            await trio.sleep_forever()
    assert "wrong version" in told


# -- services with nurseries of their own ------------------------------------------------------------------------------------------


class Busy:
    """A service whose own nursery raises: when it is opened, while it is open, or when it is closed; each start takes its next mood."""

    def __init__(self, *, entering=(), later=(), closing: BaseException | None = None) -> None:
        self.entering, self.later, self.closing = list(entering), list(later), closing

    async def __aenter__(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take, self.entering)
            nursery.start_soon(self._take, [])
        self._nursery = trio.open_nursery()
        (await self._nursery.__aenter__()).start_soon(self._collapse)
        return self

    async def __aexit__(self, *exc_info):
        self._nursery._nursery.cancel_scope.cancel()
        try:
            return await self._nursery.__aexit__(*exc_info)
        finally:
            if self.closing is not None:
                raise group(self.closing)

    async def _take(self, moods: list[BaseException]) -> None:
        await trio.lowlevel.checkpoint()
        if moods:
            raise moods.pop(0)

    async def _collapse(self) -> None:
        await trio.sleep(10 if self.later else math.inf)
        await self._take(self.later)


async def test_a_service_whose_nursery_finds_its_daemon_down_is_opened_again(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Busy(entering=[DOWN, DOWN]))
        assert made.services.failure is None
        assert made.outages["storage s0"] == str(DOWN)
        await made.services.opened(made.named[0])
        made.services.close()


async def test_a_service_whose_nursery_has_a_mistake_is_a_failure_that_names_it(bench):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Busy(entering=[ODD]))
    assert isinstance(made.services.failure, PluginError)
    assert "TypeError: wrong version" in str(made.services.failure)


async def test_a_service_that_finds_the_file_wrong_is_a_failure_of_the_file(bench):
    wrong = ConfigError(Problem("storage.path", "is no folder"))

    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Busy(entering=[wrong]))
    assert made.services.failure is wrong


@pytest.mark.parametrize("error", [DOWN, ODD], ids=["outage", "mistake"])
async def test_a_service_that_breaks_while_it_is_open_is_told_and_opened_again(bench, error):
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Busy(later=[error]))
        await trio.sleep(10.1)
        assert str(error) in made.outages["storage s0"]
        await made.services.opened(made.named[0])
        made.services.close()


@pytest.mark.parametrize("error", [DOWN, ODD], ids=["outage", "mistake"])
async def test_a_service_that_breaks_when_it_is_closed_is_told_and_is_no_failure(bench, error):
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            made = await bench(nursery, Busy(closing=error))
            made.services.close()
        assert made.services.failure is None
    assert [str(error) in line["cause"] for line in logs] == [True]


@pytest.mark.parametrize("error", [DOWN, ODD], ids=["outage", "mistake"])
async def test_a_call_that_breaks_in_a_nursery_of_its_own_is_an_outage_of_that_call(bench, error):
    async def breaking() -> None:
        raise error

    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Busy())
        with made.services.using(made.named[0], "putting", 5) as attempt:
            async with trio.open_nursery() as own:
                own.start_soon(breaking)
        assert not attempt.worked
        assert str(error) in made.outages["putting by storage s0"]
        made.services.close()
