"""Strategies that hung in an earlier life of this node: not called until it has made some rounds."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from learnae.errors import PluginError
from learnae.link.callpage import shown
from learnae.link.messages import Benched


class OnTheBench(PluginError):
    """A strategy that hung is not called yet: nothing that a peer sent, and nothing that the plugin did just now."""


@attrs.define
class Bench:
    """Counts down by the rounds of this node."""

    _benched: dict[str, Benched]
    _rounds: int = 0

    @classmethod
    def of(cls, benched: Iterable[Benched]) -> Bench:
        return cls({one.label: one for one in benched})

    def round_began(self) -> None:
        self._rounds += 1
        for label in [label for label, one in self._benched.items() if one.rounds < self._rounds]:
            del self._benched[label]

    def check(self, label: str, plugin: str, action: str) -> None:
        """Raises OnTheBench."""
        if self._benched and (one := self._benched.get(shown(label))):
            left = one.rounds - self._rounds
            raise OnTheBench(plugin, action, f"{one.why}; not called in this round{f' and {left} more' if left else ''}")
