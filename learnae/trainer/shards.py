"""Models whose parameters are sharded over the ranks of a job, as FSDP2's `fully_shard` does it: each rank holds some rows of each.

The rows of all ranks come together in the memory that rank 0 shares with its node, and go out from there: no rank ever holds them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from learnae.errors import ConfigError, Problem
from learnae.trainer.copying import AdoptionInProgress, ModelCopier, assign
from learnae.trainer.ranks import ADOPT, LEND, SNAPSHOT, Ranks
from learnae.trainer.shared import SharedTensor
from learnae.trainer.shared_memory import plainly, zeros

Tensors = Mapping[str, Tensor]
ONE_MODEL = "a job trains one model, the same in all its processes; start a peer for each other model without torch.distributed"
REMEDY = "shard it with torch.distributed.fsdp.fully_shard over all ranks of the job"


@attrs.frozen
class Rows:
    """Which rows of one tensor a rank holds."""

    name: str
    rank: int
    start: int
    count: int

    def of(self, tensor: Tensor) -> Tensor:
        return tensor[self.start : self.start + self.count]


@attrs.frozen
class Shards:
    """Who holds which rows of the sharded tensors; all others are the same in all ranks."""

    rows: Mapping[str, Sequence[Rows]]  # by name, for each rank

    @classmethod
    def of(cls, places: Iterable[SharedTensor], ranks: Ranks) -> Shards:
        """All ranks have to call this. Raises ConfigError for a tensor of which some rows are nowhere."""
        places = list(places)
        outline = hashlib.sha256(repr([(place.spec, is_sharded(place)) for place in places]).encode()).hexdigest()
        outlines = {one["outline"] for one in ranks.collect({"outline": outline})}
        ranks.agree(partial(_refuse, len(outlines) > 1, "model", "the ranks of this job share different tensors of it", ONE_MODEL))
        sharded = {place.name: getattr(place.owner, place.attribute) for place in places if is_sharded(place)}
        told = ranks.collect({name: _where(tensor) for name, tensor in sharded.items()})
        rows = {name: [Rows(name, rank, *_span([one[name] for one in told], rank)) for rank in range(ranks.size)] for name in sharded}
        for name, tensor in sharded.items():
            missing = sum({one.start: one.count for one in rows[name] if one.count}.values()) != len(tensor)
            ranks.agree(partial(_refuse, missing, f"model: {name}", "is sharded over other processes than those of this job", REMEDY))
        return cls(rows)

    def held_by(self, rank: int, tensors: Tensors) -> dict[str, Tensor]:
        """Of whole tensors, views of what this rank holds."""
        return {name: self.rows[name][rank].of(tensor) if name in self.rows else tensor for name, tensor in tensors.items()}

    def to_gather(self) -> Iterator[Rows]:
        """For rank 0, which has its own: all other rows once, also where several ranks hold them."""
        for spans in self.rows.values():
            known = {one.start for one in spans[:1] if one.count}
            for one in spans[1:]:
                if one.count and one.start not in known:
                    known.add(one.start)
                    yield one

    def to_scatter(self) -> Iterator[Rows]:
        """All rows that the other ranks hold."""
        yield from (one for spans in self.rows.values() for one in spans[1:] if one.count)


def _refuse(wrong: bool, key: str, what: str, remedy: str) -> None:
    if wrong:
        raise ConfigError(Problem(key, what, remedy))


def is_sharded(place: SharedTensor) -> bool:
    return hasattr(getattr(place.owner, place.attribute, None), "device_mesh")


def _where(tensor: Any) -> list[Any]:
    """How many rows this rank holds, at which place of its shard dimension, and where in the other dimensions of the mesh."""
    coordinates = list(tensor.device_mesh.get_coordinate())
    dimensions = [at for at, placement in enumerate(tensor.placements) if placement.is_shard()]
    place = coordinates.pop(dimensions[0]) if dimensions else 0
    return [len(tensor.to_local()), place, coordinates, bool(dimensions)]


def _span(told: Sequence[Sequence[Any]], rank: int) -> tuple[int, int]:
    count, place, group, sharded = told[rank]
    before = [one[0] for one in told if one[2] == group and one[1] < place] if sharded else []
    return sum(before), count


def gather_again(model: nn.Module) -> None:
    """FSDP2 leaves parameters whole after an evaluation. Before they are read or written, each rank must hold its own rows again."""
    for module in model.modules():
        if "FSDPModule" in {kind.__name__ for kind in type(module).__mro__}:  # not imported: that takes a second
            getattr(module, "reshard")()  # noqa: B009  # torch's types do not tell of it


@attrs.define
class RankedAdoption(AdoptionInProgress):
    """Of rank 0: once it is whole, the other ranks get theirs."""

    share: Callable[[bool], None] = attrs.field(kw_only=True)

    def finish(self, places: Sequence[SharedTensor], steps: int) -> None:
        again, moved = self._done, self.moved or steps != self.steps
        super().finish(places, steps)
        if not again:
            self.share(moved)


class RankedCopier(ModelCopier):
    """Of rank 0: its own rows as of any model, and those of the other ranks through them."""

    def __init__(
        self, places: Sequence[SharedTensor], slots: Sequence[Tensors], pages: Sequence[Tensors], *, ranks: Ranks, shards: Shards
    ) -> None:
        self._ranks, self._shards, self._whole_slots, self._whole_pages = ranks, shards, slots, pages
        super().__init__(places, [shards.held_by(0, slot) for slot in slots], [shards.held_by(0, page) for page in pages])

    def snapshot(self, slot: int, steps: int) -> None:
        self._ranks.say(SNAPSHOT)
        super().snapshot(slot, steps)
        for rows in self._shards.to_gather():
            self._ranks.receive(rows.of(self._whole_slots[slot][rows.name]), rows.rank)

    def adoption(self, page: int, slot: int, steps: int, *, whole: bool = False) -> AdoptionInProgress:
        begun = super().adoption(page, slot, steps, whole=whole)
        return RankedAdoption(
            begun.merged, begun.start, begun.residues, begun.scratch, begun.steps, begun.moved, begun.whole,
            share=lambda moved: self._share(page, slot, moved=moved),
        )  # fmt: skip

    def lend(self, page: int) -> None:
        """The other ranks hold this page too, until they give it back by themselves."""
        self._ranks.say(LEND)
        self._scatter(lambda rows: rows.of(self._whole_pages[page][rows.name]))

    def _share(self, page: int, slot: int, *, moved: bool) -> None:
        """Who has moved since the snapshot adds what the merge has changed."""

        def piece(rows: Rows) -> Tensor:
            new = rows.of(self._whole_pages[page][rows.name])
            return new - rows.of(self._whole_slots[slot][rows.name]) if moved else new

        self._ranks.say(ADOPT, moved=moved)
        self._scatter(piece)

    def _scatter(self, piece: Callable[[Rows], Tensor]) -> None:
        with plainly():
            for rows in self._shards.to_scatter():
                self._ranks.send(piece(rows), rows.rank)
        _broadcast_rest(self._places, self._shards, self._ranks)


def _broadcast_rest(places: Iterable[SharedTensor], shards: Shards, ranks: Ranks) -> None:
    for place in places:
        if place.name not in shards.rows:
            ranks.broadcast(place.tensor())


@attrs.define
class FollowingCopier:
    """Of any other rank: what it does when rank 0 says so."""

    places: Sequence[SharedTensor]
    ranks: Ranks
    shards: Shards

    def snapshot(self) -> None:
        """Send the rows that rank 0 asks this rank for."""
        places = {place.name: place for place in self.places}
        for rows in self.shards.to_gather():
            if rows.rank == self.ranks.rank:
                self.ranks.send(places[rows.name].tensor(), 0)

    def adopt(self, *, moved: bool) -> None:
        """Take what rank 0 sends."""
        places = {place.name: place for place in self.places}
        with plainly():
            for rows in self.shards.to_scatter():
                if rows.rank == self.ranks.rank:
                    mine = places[rows.name].tensor()
                    piece = zeros(mine.shape, torch.float32)
                    self.ranks.receive(piece, 0)
                    assign(mine, mine + piece.to(mine.device) if moved else piece)
        _broadcast_rest(self.places, self.shards, self.ranks)

    def lend(self) -> Callable[[], None]:
        """Hold the model that rank 0 lends. What it returns gives back what was held before, bit by bit."""
        held = [place.tensor() for place in self.places]
        with plainly():
            own = [tensor.detach().to("cpu", copy=True) for tensor in held]
        self.adopt(moved=False)

        def give_back() -> None:
            with plainly():
                for tensor, before in zip(held, own, strict=True):
                    assign(tensor, before)

        return give_back
