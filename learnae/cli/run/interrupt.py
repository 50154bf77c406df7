"""Ctrl-C between two steps, so that no step and no merge is left half done; and at any moment before the first of them.

SIGTERM and SIGHUP, of a terminal that was closed, do the same.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """While it is entered, the first signal waits for the next good moment; the same one again ends everything at once.

    A forked child, such as a worker that loads data, has the handlers that were there before: it ends as it would without us.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False
        self._heard: set[int] = set()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        numbers = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]  # nohup
        self._before = {number: signal.signal(number, self._ask) for number in numbers}
        os.register_at_fork(after_in_child=self._give_back)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._give_back()

    def _give_back(self) -> None:
        """Also in a child that another thread than the first one forked: there it is the first."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

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
        """The same batches; a signal that comes while one is waited for, or came before, raises KeyboardInterrupt."""

        def watched() -> Iterator[Any]:
            with self.at_once():
                source = iter(batches())
            while True:
                with self.at_once():
                    batch = next(source, _END)
                if batch is _END:
                    return
                yield batch

        return watched

    def look(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again = number in self._heard and number != signal.SIGHUP  # a shell that ends passes it on to whom the terminal told already
        self._heard.add(number)
        self.asked = True
        if again or self._at_once:
            raise KeyboardInterrupt


_END = object()
