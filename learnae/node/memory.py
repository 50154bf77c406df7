"""The strategies' state: committed when the trainer has adopted, on disk every now and then."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from learnae.link.contract import Hello
from learnae.node.history import History
from learnae.node.states import dump_state, load_state
from learnae.records import State

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@attrs.define
class Memory:
    """State belongs to one run of the trainer; another run starts empty unless its checkpoint names that run."""

    history: History
    log: FilteringBoundLogger
    run: str = ""
    adoption: int = 0
    states: dict[str, State] = attrs.field(factory=dict)
    _saved_at: float = float("-inf")

    def recall(self, hello: Hello, names: list[str]) -> None:
        """Take up the state that belongs to the model which the trainer holds."""
        self.run, self.adoption = hello.run, hello.progress.adoption
        limits = {hello.run: hello.progress.adoption, hello.resumed: hello.resumed_adoption}
        for name in names:
            stored = self.history.state(name)
            if stored and stored[0] in limits and stored[1] <= limits[stored[0]]:
                self._load(name, stored[2])

    def _load(self, name: str, data: bytes) -> None:
        try:
            self.states[name] = MappingProxyType(load_state(data))
        except Exception as error:  # a damaged archive raises anything
            self.log.error("state.unreadable", strategy=name, cause=str(error), consequence="the strategy starts anew")

    def commit(self, adoption: int, changed: Mapping[str, State] | None) -> None:
        """What has changed; None: a whole model was taken over, and what was learned of the one before says nothing about it."""
        self.adoption = adoption
        if changed is None:
            self.states.clear()
            self._saved_at = float("-inf")  # so that no crash brings it back
            return
        self.states.update((name, MappingProxyType(dict(state))) for name, state in changed.items())

    def save(self, now: float, every_seconds: float, *, force: bool = False) -> None:
        """Blocks on the disk. A state that cannot be written is said, and is lost at the next start."""
        if not force and now - self._saved_at < every_seconds:
            return
        self.history.save_states(self.run, self.adoption, list(self._dumped().items()))
        self._saved_at = now

    def _dumped(self) -> dict[str, Any]:
        dumped = {}
        for name, state in self.states.items():
            try:
                dumped[name] = dump_state(state)
            except Exception as error:  # a strategy's values raise anything
                self.log.error("state.unsaved", strategy=name, cause=str(error))
        return dumped
