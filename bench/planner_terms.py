"""The planner without each term of its formula, for the ablation in `data_exchange.py`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from learnae.data.worth import rows_by_label
from learnae.hookspecs import hookimpl
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.selector import Planner
from learnae.records import Candidate, PeerId, View


class WithoutCoverage(Planner):
    """Each row counts alike, whatever this peer has."""

    def _slice_worth(self, slice_: Candidate, have: Mapping[str, int]) -> float:
        return super()._slice_worth(slice_, {})


class WithRarity(Planner):
    """A slice whose labels few others offer counts more: divided by 1 + the rows of them in all slices that are offered now."""

    def select(self, view: View) -> Sequence[Candidate]:
        self.offered = rows_by_label(*(one.labels for one in view.candidates))
        return super().select(view)

    def _slice_worth(self, slice_: Candidate, have: Mapping[str, int]) -> float:
        return super()._slice_worth(slice_, have) / (1 + sum(self.offered.get(label, 0) for label in slice_.labels))


class WithoutFreshness(Planner):
    def _freshness(self, update: Candidate) -> float:
        return 1.0


class WithoutProgress(Planner):
    def _progress(self, update: Candidate, view: View) -> float:
        return 1.0


class WithoutDifference(Planner):
    def _difference(self, update: Candidate, differences: Mapping[PeerId, float]) -> float:
        return 1.0


class TurnsByWorth(Planner):
    """Also which updates have their turn is decided by what they are worth: the wait counts that often."""

    def select(self, view: View) -> Sequence[Candidate]:
        self.differences = self._differences(view)
        return super().select(view)

    def _claim(self, candidate: Candidate, view: View) -> float:
        return super()._claim(candidate, view) * (1e-9 + self._update_worth(candidate, view, self.differences) * max(1, candidate.bytes))


class RandomWorth(Planner):
    def _slice_worth(self, slice_: Candidate, have: Mapping[str, int]) -> float:
        return self._drawn(slice_)

    def _update_worth(self, update: Candidate, view: View, differences: Mapping[PeerId, float]) -> float:
        return self._drawn(update)

    def _drawn(self, candidate: Candidate) -> float:
        """The same one for a candidate, however often it is asked."""
        return zlib.crc32(f"{self.context.peer} {candidate.root}".encode()) / 2**32


class SlicesLast(Planner):
    """Slices come only where updates leave a place."""

    def _slice_worth(self, slice_: Candidate, have: Mapping[str, int]) -> float:
        return super()._slice_worth(slice_, have) * 1e-9


ABLATION: Mapping[str, type[Planner]] = {
    "the whole formula": Planner,
    "without coverage": WithoutCoverage,
    "without freshness": WithoutFreshness,
    "without progress": WithoutProgress,
    "without difference": WithoutDifference,
    "a random worth": RandomWorth,
    "slices last": SlicesLast,
    "with rarity": WithRarity,
    "turns by worth": TurnsByWorth,
}


def selector_named(variant: str) -> str:
    """Under which name a file chooses it."""
    return f"planner-{variant.replace(' ', '-')}"


class Variants:
    @hookimpl
    def learnae_register_selector(self) -> Mapping[str, type]:
        return {selector_named(name): selector for name, selector in ABLATION.items()}


def with_variants(manager: PluginManager) -> PluginManager:
    """The same manager, which knows them now."""
    manager.register(Variants(), Plugin("planner-terms"))
    return manager
