"""Ctrl-C between two steps, so that no step and no merge is left half done; and at any moment before the first of them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM waits for the next good moment; the second one ends everything at once."""

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What runs within it is ended by a signal at once, or not begun. A library may make any error of the KeyboardInterrupt."""
        self._at_once = True
        try:
            self.look()
            yield
            self.look()
        except Exception as error:
            if self.asked:
                raise KeyboardInterrupt from error
            raise
        finally:
            self._at_once = False

    def between(self, batches: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Any]]:
        """The same batches; asking for one more raises KeyboardInterrupt once a signal has come."""

        def watched() -> Iterator[Any]:
            for batch in batches():
                self.look()
                yield batch

        return watched

    def look(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or self._at_once:
            raise KeyboardInterrupt
