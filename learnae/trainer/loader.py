"""In which order the rows of a `SwarmDataset` come: batches with a share of foreign rows, new rows at once, and on from where it was."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from learnae.content import validators
from learnae.content.cids import parse_cid
from learnae.data.pool_index import MOST_SLICES
from learnae.data.schema import MOST_ROWS
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.records import Cid

if TYPE_CHECKING:
    from learnae.trainer.dataset import SwarmDataset

Key = int | tuple[Cid, int]
"""The number of an own row; or the root of a slice, and the row in it."""

_VERSION = 1
_ROW_BITS = 16  # a slice has at most 65,536 rows
_NOBODY = np.empty(0, np.int64)
_OWN, _ALL, _GROWN = range(3)  # what is shuffled


@attrs.frozen(kw_only=True)
class Position:
    """How far a training has come. `deck` holds foreign rows in their order, each as slice and row; `dealt` of them have come."""

    epoch: int = 0
    own: int = 0  # rows of this epoch
    batches: int = 0
    decks: int = 0  # that were shuffled
    slices: tuple[tuple[Cid, int], ...] = ()
    deck: np.ndarray[Any, Any] = attrs.field(default=_NOBODY, eq=False)
    dealt: int = 0


class RowBatches(Sampler[list[Key]]):
    """A batch sampler. Each pass is the rest of the epoch in which it stands, so one that was broken off goes on."""

    def __init__(
        self, dataset: SwarmDataset, batch_size: int, *, foreign: float, shuffle: bool = True, drop_last: bool = False, seed: int = 0
    ) -> None:
        if type(batch_size) is not int or batch_size < 1:
            raise ConfigError(Problem("batch_size", f"is {batch_size!r}", "a whole number above 0"))
        if not 0.0 <= foreign < 1.0:
            raise ConfigError(Problem("foreign", f"is {foreign!r}", "the share of rows of others in a batch: at least 0, less than 1"))
        self.dataset, self.batch_size, self.foreign = dataset, batch_size, foreign
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.position = Position()
        self._order: tuple[int, np.ndarray[Any, Any]] = (-1, _NOBODY)

    def __len__(self) -> int:
        """Batches of a whole epoch, with as many foreign rows as there may be now."""
        slices = self.dataset.slices()
        theirs = min(self.batch_size * self.foreign, sum(rows for _, rows in slices))
        own = self.dataset.rows.count / max(self.batch_size - theirs, 1e-9)
        return max(int(own) if self.drop_last else int(np.ceil(own - 1e-9)), 0)

    def __iter__(self) -> Iterator[list[Key]]:
        while True:
            dealt = self.deal()
            if dealt:
                yield dealt
            if self.position.own == 0:
                return

    def deal(self) -> list[Key]:
        """The next batch; empty only at the end of an epoch whose last rows are dropped."""
        at, rows = self.position, self.dataset.rows.count
        slices = self.dataset.slices()
        if slices is not at.slices:
            began = time.monotonic()
            at = self._grown(at, slices)
            self.dataset.charge(time.monotonic() - began)  # with very many rows it takes longer than to read which slices there are
        wanted = int((at.batches + 1) * self.batch_size * self.foreign) - int(at.batches * self.batch_size * self.foreign)
        wanted = min(wanted, sum(count for _, count in at.slices))
        own = min(self.batch_size - wanted, rows - at.own)
        short = own < self.batch_size - wanted
        if short:
            wanted = min(wanted, round(own * self.foreign / (1 - self.foreign)))
        keys: list[Key] = self._own_order(at.epoch)[at.own : at.own + own].tolist()
        if short and self.drop_last:
            keys, wanted = [], 0
        at, theirs = self._foreign(at, wanted)
        ended = at.own + own >= rows
        self.position = attrs.evolve(at, epoch=at.epoch + ended, own=0 if ended else at.own + own, batches=at.batches + 1)
        return keys + theirs

    def state_dict(self) -> dict[str, Any]:
        """Where it stands. `torch.load(weights_only=True)` can read it."""
        return _dump(self.position, self.dataset.rows.count)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Raises ConfigError for the state of other rows, or of something else."""
        self.position = _load(state, self.dataset.rows.count)

    def _own_order(self, epoch: int) -> np.ndarray[Any, Any]:
        if self._order[0] != epoch:
            order = self._rng(_OWN, epoch).permutation(self.dataset.rows.count) if self.shuffle else np.arange(self.dataset.rows.count)
            self._order = epoch, order
        return self._order[1]

    def _foreign(self, at: Position, wanted: int) -> tuple[Position, list[Key]]:
        """So many rows, and where it stands then. A new deck begins with those that are not in this batch."""
        taken = at.deck[at.dealt : at.dealt + wanted]
        at = attrs.evolve(at, dealt=at.dealt + len(taken))
        if len(taken) < wanted:
            deck = _all_of(at.slices)
            if self.shuffle:
                deck = self._rng(_ALL, at.decks).permutation(deck)
            again = np.isin(deck, taken)
            deck = np.concatenate([deck[~again], deck[again]])
            more = wanted - len(taken)
            taken = np.concatenate([taken, deck[:more]])
            at = attrs.evolve(at, deck=deck, dealt=more, decks=at.decks + 1)
        return at, [(at.slices[code >> _ROW_BITS][0], code & (1 << _ROW_BITS) - 1) for code in taken.tolist()]

    def _grown(self, at: Position, slices: tuple[tuple[Cid, int], ...]) -> Position:
        """With the same rows left to come, less those that are gone, and more where there are new ones."""
        if slices == at.slices:
            return attrs.evolve(at, slices=slices)
        numbers = {root: number for number, (root, _) in enumerate(slices)}
        moved = np.array([numbers.get(root, -1) for root, _ in at.slices] or [-1], np.int64)
        left = at.deck[at.dealt :]
        to = moved[left >> _ROW_BITS]
        kept = (to[to >= 0] << _ROW_BITS) | (left[to >= 0] & (1 << _ROW_BITS) - 1)
        known = {root for root, _ in at.slices}
        added = _all_of(slices, {root for root, _ in slices} - known)
        deck = np.concatenate([kept, added])
        if len(added) and self.shuffle:
            deck = self._rng(_GROWN, at.batches).permutation(deck)
        return attrs.evolve(at, slices=slices, deck=deck, dealt=0)

    def _rng(self, what: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, what, number])


class SwarmLoader(DataLoader[Any]):
    """A DataLoader that knows which batches its loop has had: workers fetch more, and those come again after a `load_state_dict`."""

    def __init__(self, dataset: SwarmDataset, batches: RowBatches, **more: Any) -> None:
        self._batches = _Noted(batches)
        self._done = batches.position
        if dataset.transform is None and more.get("collate_fn") is None:
            super().__init__(_WholeBatches(dataset), batch_sampler=self._batches, **{**more, "collate_fn": _as_it_is})
        else:
            super().__init__(dataset, batch_sampler=self._batches, **more)

    def __len__(self) -> int:
        return len(self._batches.batches)

    def __iter__(self) -> Any:
        self._batches.begin(self._done)
        for batch in super().__iter__():
            self._done = self._batches.dealt.popleft()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """After the last batch that the loop has had. `torch.load(weights_only=True)` can read it."""
        return _dump(self._done, self._batches.batches.dataset.rows.count)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next pass goes on from there. Raises ConfigError for the state of other rows, or of something else."""
        self._done = _load(state, self._batches.batches.dataset.rows.count)


class _WholeBatches(Dataset[Any]):
    """Batches that need not be put together of samples: that would copy each row once more."""

    def __init__(self, dataset: SwarmDataset) -> None:
        self._dataset = dataset

    def __getitems__(self, keys: list[Key]) -> Any:
        """As torch's own collation makes them."""
        form, parts = self._dataset.rows.form, self._dataset.batch(keys)
        return parts if form.kind == "tuple" else form.make(parts)


def _as_it_is(batch: Any) -> Any:
    return batch


class _Noted(Sampler[list[Key]]):
    """Batches, and where each one ends."""

    def __init__(self, batches: RowBatches) -> None:
        self.batches = batches
        self.dealt: deque[Position] = deque()

    def begin(self, position: Position) -> None:
        self.batches.position = position
        self.dealt.clear()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        for keys in self.batches:
            self.dealt.append(self.batches.position)
            yield keys


def _all_of(slices: tuple[tuple[Cid, int], ...], roots: set[Cid] | None = None) -> np.ndarray[Any, Any]:
    chosen = [(number, rows) for number, (root, rows) in enumerate(slices) if roots is None or root in roots]
    return np.concatenate([_NOBODY, *(np.arange(rows, dtype=np.int64) | (number << _ROW_BITS) for number, rows in chosen)])


def _dump(at: Position, rows: int) -> dict[str, Any]:
    return {
        "v": _VERSION,
        "rows": rows,
        "epoch": at.epoch,
        "own": at.own,
        "batches": at.batches,
        "decks": at.decks,
        "slices": [[str(root), count] for root, count in at.slices],
        "deck": torch.from_numpy(at.deck[at.dealt :].copy()),
    }


def _load(state: Mapping[str, Any], rows: int) -> Position:
    try:
        if state["v"] != _VERSION:
            raise ValueError(f"it is of version {state['v']}")
        if state["rows"] != rows:
            raise ValueError(f"it is of {state['rows']:,} own rows, and now there are {rows:,}")
        numbers = {name: validators.integer(state[name], name) for name in ("epoch", "own", "batches", "decks")}
        slices = tuple((parse_cid(root), validators.integer(count, "rows", 1, MOST_ROWS)) for root, count in state["slices"])
        deck = np.asarray(state["deck"], np.int64).reshape(-1)
        if len(slices) > MOST_SLICES or (len(deck) and not 0 <= int(deck.min()) <= int(deck.max()) < len(slices) << _ROW_BITS):
            raise ValueError("it names rows of no slice")
        if numbers["own"] >= rows:
            raise ValueError("it stands behind the last own row")
        return Position(slices=slices, deck=deck, **numbers)
    except (KeyError, TypeError, ValueError, UpdateRejectedError) as error:
        raise ConfigError(Problem("the state of a loader", f"cannot be used: {error}", "start its epoch anew: leave it out")) from None
