"""A failure names the plugin and the action, and says no more than that it failed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from learnae import ConfigError, PluginError, Problem, UnavailableError, UpdateRejectedError
from learnae.link.messages import Failed
from learnae.plugins.calls import blame, naming

pytestmark = pytest.mark.virtual_time


def test_what_a_strategy_raises_becomes_a_plugin_error_with_its_cause() -> None:
    with (
        pytest.raises(PluginError, match=r"plugin 'p' failed while merging: ZeroDivisionError: division by zero") as caught,
        naming("p", "merging"),
    ):
        1 / 0  # noqa: B018
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_strategy_does_not_end_the_program() -> None:
    with pytest.raises(PluginError, match="failed while merging: SystemExit: 2"), naming("p", "merging"):
        raise SystemExit(2)


def test_an_exception_without_words_is_named_by_its_type() -> None:
    with pytest.raises(PluginError, match=r"failed while merging: StopIteration$"), naming("p", "merging"):
        raise StopIteration


OURS = [UnavailableError("no daemon"), UpdateRejectedError("nan"), ConfigError(Problem("a", "b")), PluginError("q", "x", "y")]


@pytest.mark.parametrize("error", [*OURS, KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_our_own_errors_and_interrupts_pass_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, naming("p", "merging"):
        raise error
    assert caught.value is error


class Untellable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NamelessKind(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=NamelessKind):
    pass


class Classless(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("no class")


class Closed(Exception):
    def __getattribute__(self, name: str) -> object:
        raise SystemExit(4)


class Incomparable(Exception):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise SystemExit(5)


class Words(str):
    def __format__(self, spec: str) -> str:
        raise SystemExit(6)

    def __len__(self) -> int:
        raise SystemExit(7)


class Wordy(Exception):
    def __str__(self) -> str:
        return Words("words")


class ClosedGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> tuple[Exception, ...]:
        raise SystemExit(8)


class Outage(UnavailableError):
    def __str__(self) -> str:
        raise SystemExit(9)


class ClosedOutage(UnavailableError):
    def __getattribute__(self, name: str) -> object:
        raise SystemExit(10)


EVIL = [Untellable, Nameless, Classless, Closed, Incomparable, Wordy, Outage, ClosedOutage]
MAKE: list[Callable[[], BaseException]] = [
    *(lambda kind=kind: kind("x") for kind in EVIL),
    *(lambda kind=kind: ExceptionGroup("two", [ValueError("y"), kind("x")]) for kind in EVIL),
    *(lambda kind=kind: ExceptionGroup("two", [UnavailableError("y"), kind("x")]) for kind in EVIL),
    lambda: ClosedGroup("one", [ValueError("x")]),
]


@pytest.mark.parametrize("make", MAKE, ids=range(len(MAKE)))
def test_an_exception_that_raises_when_it_is_looked_at_is_a_failure_of_the_plugin(make: Callable[[], BaseException]) -> None:
    with pytest.raises(PluginError, match="'p' failed while merging"), naming("p", "merging"):
        raise make()
    assert isinstance(blame("p", "merging", make()), PluginError)


@pytest.mark.parametrize("make", MAKE, ids=range(len(MAKE)))
def test_an_exception_that_raises_when_it_is_looked_at_does_not_hide_that_the_node_ends(make: Callable[[], BaseException]) -> None:
    assert Failed.of(make()).text


def deep(levels: int) -> BaseException:
    error: BaseException = ValueError("at the bottom")
    for _ in range(levels):
        error = BaseExceptionGroup("deeper", [error])
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [(GeneratorExit(), "GeneratorExit"), (Untellable(), "Untellable"), (deep(3000), "ValueError: at the bottom")],
    ids=["GeneratorExit", "untellable", "deep"],
)
def test_whatever_else_it_raises_is_a_failure_of_the_plugin(error: BaseException, told: str) -> None:
    blamed = blame("p", "merging", error)
    assert isinstance(blamed, PluginError) and str(blamed).endswith(told)


def test_where_no_user_can_interrupt_a_keyboard_interrupt_is_the_plugins() -> None:
    assert isinstance(blame("p", "merging", KeyboardInterrupt(), interruptible=False), PluginError)


async def test_cancellation_passes() -> None:
    with trio.move_on_after(1) as scope, naming("p", "fetching"):
        await trio.sleep_forever()
    assert scope.cancelled_caught
