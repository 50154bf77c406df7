"""Ctrl-C between two steps, so that no step and no merge is left half done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM ends training after the present step; the second one ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def between(self, batches: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Any]]:
        """The same batches; asking for one more raises KeyboardInterrupt once a signal has come."""

        def watched() -> Iterator[Any]:
            for batch in batches():
                if self.asked:
                    raise KeyboardInterrupt
                yield batch

        return watched

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
