"""How one node ended, why, and whether it always ends like that."""

from __future__ import annotations

import signal
from typing import Any

import attrs

from learnae.errors import ConfigError, LearnaeError, PluginError, Problem
from learnae.link.messages import Failed

ALIKE = 3  # endings one after the other, of nodes that were never up
ADVICE = "it is tried again now and then; training goes on without the swarm"


@attrs.frozen
class Ending:
    """`said` is what it wrote before it could speak."""

    seconds: float
    exit_code: int | None  # None: it could not even be started
    failure: Failed | None
    said: str = ""
    was_up: bool = False

    @property
    def words(self) -> str:
        """Why, in a line."""
        if self.failure is not None:
            return self.failure.text
        return self.said.rpartition("\n")[2] or _in_words(self.exit_code)

    @property
    def trace(self) -> str:
        """All that is known beside that."""
        return "\n".join(part for part in (self.failure.trace if self.failure else "", self.said) if part)

    @property
    def error(self) -> LearnaeError | None:
        """What the user must act on, if that was the reason."""
        said = self.failure.as_error() if self.failure else None
        where = self.said or "it says why on stderr, above"
        match self.exit_code:
            case 2:
                return said or ConfigError(Problem("node", "refused to start", where))
            case 3:
                return said or PluginError("unknown", "starting the node", where)
        return None


@attrs.define
class Teller:
    """Tells of each ending, but not for ever of the same one."""

    log: Any
    _last: tuple[int | None, str] | None = None
    _alike: int = 0

    def tell(self, ending: Ending, again_in_seconds: float) -> None:
        this = (ending.exit_code, ending.words)
        self._alike = self._alike + 1 if not ending.was_up and this == self._last else 1
        self._last = None if ending.was_up else this
        facts = {"exit_code": ending.exit_code, "said": ending.words, **({"exception": ending.trace} if ending.trace else {})}
        if self._alike == ALIKE:
            self.log.error("node.cannot_start", times=ALIKE, **facts, advice=ADVICE)
        elif self._alike < ALIKE:
            self.log.warning("node.ended", **facts, again_in_seconds=again_in_seconds)


def _in_words(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}" if exit_code else ""
    try:
        return f"ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"ended by signal {-exit_code}"
