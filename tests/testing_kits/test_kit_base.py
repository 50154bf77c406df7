"""Tests of a kit cannot be dropped in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
import trio
import trio.testing

from learnae.testing.announcer_talk import Listener
from learnae.testing.kit import Kit, failing, in_trio, needs, standard_tests

if TYPE_CHECKING:
    from collections.abc import Callable


class Standard(Kit):
    strong = True
    clever = False

    def test_right(self) -> None:
        assert self.strong

    def test_wrong(self) -> None:
        assert self.clever

    @needs("clever")
    def test_clever(self) -> None:
        raise AssertionError

    @in_trio
    async def test_async(self) -> None:
        await trio.lowlevel.checkpoint()


class Slow(Kit):
    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)

    @in_trio
    async def test_hangs(self) -> None:
        await trio.sleep_forever()

    @in_trio
    async def test_cannot_be_cancelled(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.timeout_seconds + 1)

    @in_trio
    async def test_takes_almost_all_the_time(self) -> None:
        await trio.sleep(self.timeout_seconds - 1)


def test_a_test_that_is_overridden_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="replaces tests of its kit: test_right"):

        class Dropping(Standard):
            def test_right(self) -> None:
                pass


def test_a_test_that_is_set_to_none_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="test_right, test_wrong"):

        class Dropping(Standard):
            test_right = None  # type: ignore[assignment]
            test_wrong = None  # type: ignore[assignment]


def test_a_test_that_a_mixin_hides_is_an_error_at_once() -> None:
    class Mixin:
        test_right = None

    with pytest.raises(TypeError, match="replaces tests of its kit: test_right"):

        class Dropping(Mixin, Standard):
            pass


def test_a_kit_may_be_built_on_another() -> None:
    class Waiving(Standard):
        waived: ClassVar = {"test_wrong": "cannot"}

    class Further(Waiving):
        pass

    assert standard_tests(Further).keys() == standard_tests(Standard).keys()


def test_new_tests_may_be_added() -> None:
    class Adding(Standard):
        def test_more(self) -> None:
            pass

    assert standard_tests(Adding).keys() == standard_tests(Standard).keys() | {"test_more"}


@pytest.mark.parametrize("waivers", [{"test_rihgt": "a typing mistake"}, {"test_right": ""}], ids=["unknown test", "no reason"])
def test_a_waiver_names_a_test_and_a_reason(waivers: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="waived"):
        type("Waiving", (Standard,), {"waived": waivers})


def test_a_waived_test_is_still_run_and_leaves_the_kit_as_it_was(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from learnae.testing.kit import Kit

        class Standard(Kit):
            def test_one(self): assert False
            def test_two(self): pass

        class TestWaiving(Standard):
            waived = {"test_one": "cannot", "test_two": "could after all"}

        class TestOther(Standard):
            pass
    """)
    outcome = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(xfailed=1, failed=2, passed=1)  # the waiver that is not needed fails too
    outcome.stdout.fnmatch_lines_random(["FAILED*TestWaiving::test_two*", "FAILED*TestOther::test_one*"])


def test_a_capability_that_is_missing_skips_with_a_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="Standard says clever = False"):
        Standard().test_clever()


def test_a_kit_runs_without_pytest_and_names_what_failed() -> None:
    assert failing(Standard()).keys() == {"test_wrong"}


def test_a_test_that_hangs_or_cannot_be_cancelled_has_failed() -> None:
    assert failing(Slow()).keys() == {"test_hangs", "test_cannot_be_cancelled"}


class Waiting(Kit):
    """Waits for something in each of its tests."""

    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)

    @in_trio
    async def test_a_message(self) -> None:
        await Listener().hears(b"a message that never comes")

    @in_trio
    async def test_a_call(self) -> None:
        await self.put("a root")

    @in_trio
    async def test_beside_each_other(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.put, "another root")

    async def put(self, root: str) -> None:
        await trio.sleep_forever()


def test_a_test_that_takes_too_long_says_what_it_waited_for() -> None:
    told = {name: str(error) for name, error in failing(Waiting()).items()}
    assert "hears(message=b'a message that never comes')" in told["test_a_message"]
    assert "put(root='a root')" in told["test_a_call"] and "await self.put(" in told["test_a_call"]
    assert "put(root='another root')" in told["test_beside_each_other"]


def test_the_fixtures_give_contexts_of_peers_that_meet(learnae_context: object, learnae_contexts: Callable[[str], object]) -> None:
    from learnae.testing.context import SharedResources, make_context

    class Medium:
        pass

    a, b = learnae_contexts("a"), learnae_contexts("b")
    assert a.share(Medium) is b.share(Medium)  # type: ignore[attr-defined]
    assert a.meeting == b.meeting  # type: ignore[attr-defined]
    assert a.home != b.home  # type: ignore[attr-defined]
    assert a.peer != b.peer  # type: ignore[attr-defined]
    assert learnae_context.peer == a.peer  # type: ignore[attr-defined]
    assert make_context(a.home, shared=SharedResources()).share(Medium) is not a.share(Medium)  # type: ignore[attr-defined]
