"""The base of all conformance kits. A subclass cannot drop inherited tests silently. Async tests run trio by themselves."""

from __future__ import annotations

import contextlib
import functools
import inspect
import linecache
import os
import reprlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import attrs
import pytest
import trio
from hypothesis import HealthCheck, settings

from learnae.node.blocking import as_written, asynchronous
from learnae.observations import PeerConnection

SERVICES = ("storage", "announcer")  # fixtures that may give services with plain methods
MOST_CHILDREN = 3
MOST_CONNECTIONS, MOST_ADDRESSES, TEXT_CHARACTERS = 1000, 8, 200  # as the core reads them
OTHERS = (str(Path(trio.__file__).parent) + os.sep, contextlib.__file__)  # files that say nothing about the test


def awaited(task: trio.lowlevel.Task) -> str:
    """The line where it stands, and which calls it is in; of one that waits for others, theirs."""
    frames = list(task.iter_await_frames())
    told = [_told(frame, line) for frame, line in frames if not frame.f_code.co_filename.startswith(OTHERS)]
    if any(frame.f_code.co_name == "_nested_child_finished" for frame, _ in frames):
        told += [f"which waits for: {child}" for child in _children(task)]
    return "; in ".join(told) or "nothing that can be told"


def _children(task: trio.lowlevel.Task) -> Iterator[str]:
    children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    yield from (awaited(child) for child in children[:MOST_CHILDREN])


def _told(frame: FrameType, line: int | None) -> str:
    code = frame.f_code
    names = [name for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if name != "self"]
    arguments = ", ".join(f"{name}={_short(frame.f_locals[name])}" for name in names if name in frame.f_locals)
    source = linecache.getline(code.co_filename, line or 0).strip()
    return f"{code.co_name}({arguments}) at {Path(code.co_filename).name}:{line}: {source}"


def _short(value: object) -> str:
    try:
        return reprlib.repr(value)
    except Exception:  # a plugin's object that cannot be told
        return type(value).__name__


inherited = settings(
    deadline=None,  # on a busy machine it measures the neighbours
    report_multiple_bugs=False,  # one counterexample is enough, and then the failure is a plain AssertionError
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
"""Settings of hypothesis for inherited properties. One fixture serves many examples, because a strategy keeps nothing between calls."""


LOOK_SECONDS = 0.01

P = ParamSpec("P")
K = TypeVar("K", bound="Kit")


class Kit:
    """Subclass a kit, name the subclass `Test...`, and give it its fixture. It inherits the tests.

    Class attributes of the kit say what a plugin cannot do. If a test must fail all the same, name it in `waived` with the reason. It
    still runs, and must fail. Overriding an inherited test, or setting it to None, raises TypeError.
    """

    timeout_seconds: ClassVar[float] = 30.0
    """The most seconds that one async test may take."""

    waived: ClassVar[Mapping[str, str]] = {}
    """The names of inherited tests that must fail, each with the reason."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = {name for base in cls.__mro__[1:] if issubclass(base, Kit) for name in vars(base) if name.startswith("test_")}
        if dropped := sorted(name for name in inherited if not _comes_from_a_kit(cls, name)):
            raise TypeError(f"{cls.__name__} replaces tests of its kit: {', '.join(dropped)}; name them in `waived` with a reason instead")
        for name, reason in vars(cls).get("waived", {}).items():
            if name not in inherited or not reason:
                raise TypeError(f"{cls.__name__}.waived: {name!r} needs to be a test of the kit, and to have a reason")
            setattr(cls, name, _expected_to_fail(getattr(cls, name), reason))

    def clock(self) -> trio.abc.Clock | None:
        """The clock of each async test; None is the real one."""
        return None

    def taken(self, fixture: Any) -> Any:
        """What an async test gets in place of a fixture's value. By default it is that value."""
        return fixture


class MediumFaults(Kit):
    """A kit whose tests can break the medium, if the subclass says how."""

    def out_of_order(self, service: Any, /) -> AbstractContextManager[object]:
        """Define it: a context manager. While it is open, nobody can use the medium of this service.

        A daemon is down, for example, or a folder is gone. The kit enters it in any thread.
        """
        raise NotImplementedError

    def breaking(self, service: Any, /) -> AbstractContextManager[object]:
        """As `out_of_order`. Skips the test, visibly, if the subclass does not define that."""
        if type(self).out_of_order is MediumFaults.out_of_order:
            pytest.skip("this kit does not know how to put this medium out of order: define `out_of_order`")
        return self.out_of_order(as_written(service))

    def look_at_connections(self, service: Any, /) -> None:
        """What `learnae status` reads of a service: it never raises, is bounded, and gives records of ours."""
        connections, addresses = list(service.connections()), list(service.addresses())
        assert len(connections) <= MOST_CONNECTIONS, f"{len(connections)} connections, of which {MOST_CONNECTIONS} are read"
        assert {type(one) for one in connections} <= {PeerConnection}
        assert all(len(text) <= TEXT_CHARACTERS for one in connections for text in attrs.astuple(one) if isinstance(text, str))
        assert all(one.bytes_in >= 0 and one.bytes_out >= 0 and (one.rtt_seconds or 0.0) >= 0.0 for one in connections)
        assert len(addresses) <= MOST_ADDRESSES
        assert all(type(one) is str and 0 < len(one) <= TEXT_CHARACTERS for one in addresses)

    def taken(self, fixture: Any) -> Any:
        """A service with plain methods is tested as the core calls it: in threads."""
        return (lambda peer: asynchronous(fixture(peer))) if callable(fixture) else fixture


def _comes_from_a_kit(cls: type[Kit], name: str) -> bool:
    """Whether neither the class itself nor a mixin stands before the kit that has this test."""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    return owner is not cls and issubclass(owner, Kit)


def _expected_to_fail(test: Callable[..., None], reason: str) -> Callable[..., None]:
    @functools.wraps(test)
    def waived(*args: Any, **kwargs: Any) -> None:
        test(*args, **kwargs)

    marked: Callable[..., None] = pytest.mark.xfail(reason=reason, strict=True)(waived)
    return marked


def in_trio(test: Callable[Concatenate[K, P], Awaitable[None]]) -> Callable[Concatenate[K, P], None]:
    """Make a plain test of an async one. It runs trio by itself, for the kit's `timeout_seconds` at most.

    A test that takes longer fails, and says what it waited for.
    """

    @functools.wraps(test)
    def plain(self: K, /, *args: P.args, **kwargs: P.kwargs) -> None:
        services = {name: self.taken(value) if name in SERVICES else value for name, value in kwargs.items()}

        async def bounded() -> None:
            task, seen = trio.lowlevel.current_task(), list[str]()

            async def look() -> None:
                """Just before the end: afterwards nothing waits any more."""
                await trio.sleep(self.timeout_seconds - min(LOOK_SECONDS, self.timeout_seconds / 10))
                seen.append(awaited(task))

            trio.lowlevel.spawn_system_task(look)  # in a nursery of the test's, what the test raises would come in a group
            with trio.move_on_after(self.timeout_seconds) as scope:
                await test(self, *map(self.taken, args), **services)  # type: ignore[arg-type]  # of the same type, or made so
            if scope.cancel_called:  # also when it ended late, and of itself: `fail_after` would not mind
                raise trio.TooSlowError(f"longer than {self.timeout_seconds} seconds, waiting in {''.join(seen) or 'no task'}")

        trio.run(bounded, clock=self.clock())

    return plain


def needs(capability: str) -> Callable[[Callable[Concatenate[K, P], None]], Callable[Concatenate[K, P], None]]:
    """Skip a test, visibly, if the class attribute `capability` is false."""

    def decorate(test: Callable[Concatenate[K, P], None]) -> Callable[Concatenate[K, P], None]:
        @functools.wraps(test)
        def checked(self: K, /, *args: P.args, **kwargs: P.kwargs) -> None:
            if not getattr(self, capability):
                pytest.skip(f"{type(self).__name__} says {capability} = False")
            test(self, *args, **kwargs)

        return checked

    return decorate


def standard_tests(kit: type[Kit]) -> dict[str, Callable[..., None]]:
    """The tests of a kit by name."""
    return {name: member for name, member in inspect.getmembers(kit, inspect.isfunction) if name.startswith("test_")}


def failing(kit: Kit, *fixtures: Callable[[], Any]) -> dict[str, BaseException]:
    """Run all tests of a kit without pytest, each with fresh fixtures. Return the failures by the name of the test."""
    failures: dict[str, BaseException] = {}
    for name, test in standard_tests(type(kit)).items():
        try:
            test(kit, *(fixture() for fixture in fixtures))
        except (Exception, pytest.fail.Exception) as error:
            failures[name] = error
        except pytest.skip.Exception:
            pass
    return failures
