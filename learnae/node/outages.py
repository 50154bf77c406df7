"""One log line when something breaks, one when it works again, none between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from learnae.errors import PluginError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@attrs.define
class Outages:
    log: FilteringBoundLogger
    _broken: dict[str, str] = attrs.field(factory=dict)

    def failed(self, what: str, cause: str) -> None:
        if what not in self._broken:
            self.log.warning("outage", what=what, cause=cause)
        self._broken[what] = cause

    def plugin_failed(self, what: str, error: PluginError) -> None:
        """The same for a strategy that raised or returned nonsense; where it did so is told at the level "debug"."""
        if what not in self._broken:
            self.log.error("plugin.failed", plugin=error.plugin, error=str(error))
            self.log.debug("plugin.traceback", plugin=error.plugin, exc_info=error)
        self._broken[what] = str(error)

    def works(self, what: str) -> None:
        if self._broken.pop(what, None) is not None:
            self.log.warning("outage.over", what=what)

    @property
    def broken(self) -> dict[str, str]:
        """What does not work now, with the cause."""
        return dict(self._broken)
