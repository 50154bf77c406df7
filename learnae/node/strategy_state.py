"""The state of the strategies: kept in memory, committed when the trainer has adopted, written to disk now and then, never pickled."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.link.messages import Hello
from learnae.node.history import History
from learnae.records import State

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


def checked_state(state: Any) -> State | None:
    """What a strategy returned as its state. Raises TypeError unless it is a mapping by name, or None."""
    if state is not None and not (isinstance(state, Mapping) and all(isinstance(name, str) for name in state)):
        raise TypeError(f"a state is a mapping from text to arrays, numbers and text, not {type(state).__name__}")
    return state


def dump_state(state: State) -> bytes:
    """Raises TypeError for values that are neither arrays nor numbers nor text."""
    arrays = {name: np.asarray(value) for name, value in state.items() if _is_array(value)}
    plain = {name: value for name, value in state.items() if name not in arrays}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{f"array/{name}": array for name, array in arrays.items()}, plain=np.array(json.dumps(plain)))
    return buffer.getvalue()


def load_state(data: bytes) -> dict[str, Any]:
    """Raises whatever numpy, zipfile and json raise for bytes that `dump_state` did not make."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        state = dict(json.loads(str(stored["plain"])))
        return state | {name.removeprefix("array/"): stored[name] for name in stored.files if name.startswith("array/")}


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")


@attrs.define
class StrategyStates:
    """What merge and outer strategy have learned is about the model, and belongs to one run of the trainer: another run starts empty
    unless its checkpoint names that run. What gates and selector have learned is about peers, and is kept whatever becomes of the model.
    """

    history: History
    log: FilteringBoundLogger
    run: str = ""
    adoption: int = 0
    of_model: dict[str, State] = attrs.field(factory=dict)
    of_peers: dict[str, State] = attrs.field(factory=dict)
    _saved_at: float = float("-inf")

    @property
    def states(self) -> Mapping[str, State]:
        """All of them, by strategy."""
        return MappingProxyType({**self.of_model, **self.of_peers})

    def recall(self, hello: Hello, of_model: Iterable[str], of_peers: Iterable[str]) -> None:
        """Take up the state that belongs to the model which the trainer holds, and all that is known of peers."""
        self.run, self.adoption = hello.run, hello.progress.adoption
        limits = {hello.run: hello.progress.adoption, hello.resumed: hello.resumed_adoption}
        for name in of_model:
            stored = self.history.state(name)
            if stored and stored[0] in limits and stored[1] <= limits[stored[0]]:
                self._load(self.of_model, name, stored[2])
        for name in of_peers:
            if stored := self.history.state(name):
                self._load(self.of_peers, name, stored[2])

    def _load(self, states: dict[str, State], name: str, data: bytes) -> None:
        try:
            states[name] = MappingProxyType(load_state(data))
        except Exception as error:  # a damaged archive raises anything
            self.log.error("state.unreadable", strategy=name, cause=str(error), consequence="the strategy starts anew")

    def commit(self, adoption: int, changed: Mapping[str, State] | None) -> None:
        """What has changed of the model; None: a whole one was taken over, and what was learned of the one before says nothing about it."""
        self.adoption = adoption
        if changed is None:
            self.of_model.clear()
            self._saved_at = float("-inf")  # so that no crash brings it back
            return
        self.of_model.update(_frozen(changed))

    def learn(self, changed: Mapping[str, State]) -> None:
        """What the gates or the selector have learned of peers: it holds whether their models were merged or not."""
        self.of_peers.update(_frozen(changed))

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


def _frozen(changed: Mapping[str, State]) -> dict[str, State]:
    return {name: MappingProxyType(dict(state)) for name, state in changed.items()}
