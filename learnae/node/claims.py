"""How far others are believed: ages and counters by what many peers agree on, and which of several models a newcomer takes.

See docs/decisions/0010 and 0029.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae.elementwise import pieces
from learnae.errors import PluginError
from learnae.node.history_reader import Sighting
from learnae.node.inbox import LONGEST_SECONDS, InboxEntry
from learnae.node.receive import Receiver
from learnae.node.selection import UpdateSelection
from learnae.node.tensors import finite, is_counter
from learnae.readers import ReadableModel, TensorReader, reader_of
from learnae.records import AnnouncementKind, LocalModel, PeerId, Received

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.node.obtaining import Obtained
    from learnae.records import Array


MOST_RISE = 1 << 40
"""No counter rises by more between two merges: so that products of it stay exact."""

HIGHEST = 1 << 62


def bounded(accepted: Sequence[Received], most: Mapping[str, Array]) -> list[Received]:
    """The same updates, with each counter limited to its value in `most`."""
    return [attrs.evolve(item, tensors=BoundedTensors(item.tensors, most)) for item in accepted]


def lower_median(arrays: Sequence[Array]) -> Array:
    """The lower median of each element of n arrays of one shape. It works in pieces, so that no n-fold copy of a tensor is in memory."""
    flat = [array.reshape(-1) for array in arrays]
    result, middle = np.empty_like(flat[0]), (len(flat) - 1) // 2
    for piece in pieces(result.size):
        result[piece] = np.partition(np.stack([array[piece] for array in flat]), middle, axis=0)[middle]
    return result.reshape(arrays[0].shape)


def between(own: Array, others: Array, factor: int, before: Array) -> Array:
    """Raise own counters towards those of others, by at most `factor` times what the own one has risen by since `before`; int64."""
    unsigned = np.uint64
    risen = np.clip(np.where(own > before, own.astype(unsigned) - before.astype(unsigned), 0), 0, MOST_RISE).astype(unsigned)
    apart = np.where(others > own, others.astype(unsigned) - own.astype(unsigned), unsigned(0))  # modulo 2^64, so that nothing overflows
    return np.asarray((own.astype(unsigned) + np.minimum(apart, risen * unsigned(factor))).astype(np.int64))


def held(theirs: Array, own: Array, own_age: int, age: int) -> Array:
    """A counter that comes with a model of that age, limited: two for each step at most, or twice the own ratio of counter to age.

    It is never less than the own counter.
    """
    ratio, least = 2.0 * max(1.0, age / max(1, own_age)), max(1, own_age)
    most = np.minimum(np.maximum(own, least).astype(np.float64) * ratio, HIGHEST).astype(np.int64)
    return np.asarray(np.maximum(own, np.minimum(theirs, most)))


class BoundedTensors(ReadableModel):
    """The same tensors, with each counter limited to its value in `most`."""

    def __init__(self, tensors: Mapping[str, Array], most: Mapping[str, Array]) -> None:
        super().__init__()
        self._tensors, self._most = tensors, most

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name]
        return np.asarray(np.minimum(tensor, self._most[name])) if name in self._most else tensor

    def reader(self, name: str) -> TensorReader:
        return reader_of(self._tensors, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


OLDEST = 1 << 48
"""Optimiser steps that no model ever has: an age beyond it is believed up to here, so that ages can be added and stored for ever."""

WINDOW = 9
"""Peers whose last accepted claims are weighed against each other: four that lie together are outvoted."""

ENOUGH = 5
"""Peers without whose claims nothing is raised, where so many are there: two that lie together are outvoted."""

LISTENING_MERGES = 8
"""So many times a peer merges in a lineage before it takes its swarm for small, in rounds of its own: those who lie may be heard first."""

LASTING_ROUNDS = 32
"""Own rounds after which what a peer claimed says nothing any more."""

FASTEST = 64
"""Nobody is taken to be so many times as fast as this peer: if all lie, ages and counters grow with the own steps, and not without end."""


@attrs.frozen
class Claim:
    """What one peer claimed with its last accepted update, and the own round in which that was."""

    round: int
    age: int
    counters: Mapping[str, Array]


@attrs.frozen
class BelievedClaims:
    """The age of a merged model, and the upper limit of each counter."""

    age: int
    counters: Mapping[str, Array]


@attrs.define
class Claims:
    """The claims of peers in one lineage at a time. `counters` names the tensors that are merged by maximum.

    This peer believes the lower median of the last claims of up to `WINDOW` peers, not only of those that it meets in one round. And in a
    merge nothing rises by more than `FASTEST` times what the own value has risen by since it was last raised.
    """

    counters: Sequence[str]
    lineage: bytes = b""
    _claims: OrderedDict[PeerId, Claim] = attrs.field(factory=OrderedDict)
    _then: dict[str, Array] = attrs.field(factory=dict)  # each counter when it was last raised, or first seen
    _age_then: int = 0  # likewise
    _age_first: int = 0  # when the first update of this lineage was merged: most of it was taken over from others
    _merges: int = 0

    def believe(
        self, local: LocalModel, accepted: Sequence[Received], lineage: bytes, round_: int, *, here: int, provisional: bool
    ) -> BelievedClaims:
        """What to believe of these updates and of earlier ones. `here` is the number of other peers that publish in this lineage.

        A `provisional` peer knows few others yet. It took its age over from those, so the age is corrected when it knows more.
        """
        if lineage != self.lineage:
            self.lineage, self._merges = lineage, 0
            self._claims.clear()
        if self._merges == 0:
            self._age_first = self._age_then = local.age
            self._then = {name: np.array(local.current[name]) for name in self.counters}
        self._note(accepted, round_)
        self._merges += 1
        enough = ENOUGH if provisional or self._merges <= LISTENING_MERGES else max(2, min(ENOUGH, here))
        if len(self._claims) < enough:
            return BelievedClaims(local.age, {name: local.current[name] for name in self.counters})
        return BelievedClaims(self._age(local.age, provisional=provisional), {name: self._counter(local, name) for name in self.counters})

    def observe(self, accepted: Sequence[Received], lineage: bytes, round_: int) -> BelievedClaims:
        """What a peer believes whose own model counts for nothing: the lower medians of the last claims, of one alone what it says."""
        if lineage != self.lineage:
            self.lineage, self._merges = lineage, 0
            self._claims.clear()
        self._note(accepted, round_)
        claims = list(self._claims.values())
        age = max(0, min(OLDEST, median_low([claim.age for claim in claims])))
        return BelievedClaims(age, {name: lower_median([claim.counters[name] for claim in claims]) for name in self.counters})

    def merged(self, local: LocalModel, believed: BelievedClaims, page: Mapping[str, Array]) -> None:
        """The merge has made a model of that age, with these counters."""
        if believed.age != local.age:
            self._age_then = believed.age
        for name in self.counters:
            if (page[name] > local.current[name]).any():
                self._then[name] = np.array(page[name])

    def _note(self, accepted: Iterable[Received], round_: int) -> None:
        for item in accepted:
            self._claims.pop(item.peer, None)
            self._claims[item.peer] = Claim(round_, item.update.age, {name: np.array(item.tensors[name]) for name in self.counters})
        for peer in [peer for peer, claim in self._claims.items() if round_ - claim.round > LASTING_ROUNDS]:
            del self._claims[peer]
        while len(self._claims) > WINDOW:
            self._claims.popitem(last=False)

    def _age(self, own: int, *, provisional: bool) -> int:
        others = min(OLDEST, median_low([claim.age for claim in self._claims.values()]))
        if provisional and self._age_first > 2 * others:
            corrected, self._age_first = others + own - self._age_first, others
            return corrected
        return max(own, min(others, own + FASTEST * max(0, own - self._age_then)))

    def _counter(self, local: LocalModel, name: str) -> Array:
        others = lower_median([claim.counters[name] for claim in self._claims.values()])
        return between(local.current[name], others, FASTEST, self._then[name])


def heard_before(sightings: Iterable[Sighting]) -> dict[PeerId, bytes]:
    """The lineages of the peers that the earlier run heard live in its last hour."""
    live = [sighting for sighting in sightings if sighting.live and sighting.lineage]
    last = max((sighting.at for sighting in live), default=0.0)
    return {sighting.peer: sighting.lineage or b"" for sighting in live if sighting.at >= last - LONGEST_SECONDS}


@attrs.define
class LineagePopulation:
    """How many peers publish in a lineage.

    A peer whose pace is not known yet may be slow. It counts for an hour, even if it was heard only as backlog, or by the earlier run.
    The reason: a fast peer that has restarted hears fast liars first. If only the peers heard since then counted, a swarm of slow peers
    would look small, and two votes would seem enough.
    """

    selection: UpdateSelection
    receiver: Receiver
    before: Mapping[PeerId, bytes] = attrs.field(factory=dict)  # the lineage of each that the run before has heard
    _since: float | None = None

    def others(self, lineage: bytes) -> int:
        """The other peers that publish here, without those of which nothing can be had."""
        now = self.receiver.runtime.clock()
        self._since = now if self._since is None else self._since
        here = {entry.peer for entry in self.selection.of_lineage(lineage) if self._stays(entry)}
        if now - self._since <= LONGEST_SECONDS:
            unheard = {peer for peer in self.before if self.receiver.inbox.get(peer, AnnouncementKind.UPDATE) is None}
            here |= {peer for peer in unheard if self.before[peer] == lineage}
        peers = self.receiver.peers
        return sum(peers.trusts(peer) or not peers.get(peer).failures for peer in here)

    def _stays(self, entry: InboxEntry) -> bool:
        gone = self.receiver.inbox.get(entry.peer, AnnouncementKind.LEAVING)
        if entry.backlog and gone is not None and gone.heard_at >= entry.heard_at:
            return False
        return self.receiver.inbox.in_time(entry, self.receiver.runtime.clock(), self.selection.fresh_rounds, LONGEST_SECONDS)


def medoid(obtained: Sequence[Obtained]) -> Obtained:
    """The one with the smallest sum of distances to the others; of equals the first."""
    if len(obtained) < 3:
        return obtained[0]
    try:
        distances = _distances(obtained)
    except PluginError:  # one cannot be decoded: who tries to adopt them will find which
        return obtained[0]
    return obtained[int(np.argmin(np.where(np.isfinite(distances), distances, np.inf)))]


def _distances(obtained: Sequence[Obtained]) -> NDArray[np.float64]:
    """From each to all others."""
    squares = np.zeros((len(obtained), len(obtained)))
    for name, spec in obtained[0].decoder.specs.items():
        if spec.floating and not spec.apart:
            arrays = [item.decoder.decode(name).array for item in obtained]
            for i, one in enumerate(arrays):
                for j in range(i):
                    squares[i, j] += _squared_distance(one, arrays[j])
    distances: NDArray[np.float64] = np.sqrt(squares + squares.T)
    summed: NDArray[np.float64] = distances.sum(axis=1)
    return summed


def agree(obtained: Sequence[Obtained], announcing: int) -> bool:
    """Whether it makes no difference which of them lie: more are fetched where it does.

    Their tables are equal. And where few announce, so that these models alone tell how far the lineage has come, no age and no counter is
    beyond twice that of another.
    """
    if announcing < ENOUGH and not _alike([np.array(item.entry.update.age) for item in obtained]):
        return False
    for name, spec in obtained[0].decoder.specs.items():
        if spec.floating or (is_counter(spec) and announcing >= ENOUGH):
            continue
        arrays = [item.decoder.decode(name).array for item in obtained]
        if not (_alike(arrays) if is_counter(spec) else all(np.array_equal(arrays[0], array) for array in arrays[1:])):
            return False
    return True


def _alike(arrays: Sequence[Array]) -> bool:
    highest, lowest = np.maximum.reduce(arrays), np.minimum.reduce(arrays)
    return bool((highest - highest // 2 <= lowest).all())  # so that nothing overflows


def adopted_age(chosen: Obtained, obtained: Sequence[Obtained], announced: Sequence[int]) -> int:
    """The lower median of all that announce in that lineage, at most the highest of an obtained model: an announcement alone costs nothing.

    Where few announce, the lower median of the obtained ones, at most that of the chosen one.
    """
    theirs = [item.entry.update.age for item in obtained]
    if len(announced) >= ENOUGH:
        return min(OLDEST, median_low(announced), max(theirs))
    return min(OLDEST, chosen.entry.update.age, median_low(theirs))


def write_model(chosen: Obtained, obtained: Sequence[Obtained], local: LocalModel, age: int, page: Mapping[str, Array]) -> bool:
    """Fill the page with the chosen model, with own values where it came in part and has no base. False: it is not finite; do not adopt it.

    Of each counter the lower median of all obtained ones is taken, as far as a model of that age can have come: the medoid looks at
    floating tensors alone. All other integers are those of one model each: a table of indices is right as a whole.
    """
    for name, target in page.items():
        spec = chosen.decoder.specs[name]
        if spec.floating:
            array = _floating(chosen, name, local.current)
        elif is_counter(spec):
            array = held(_counters(obtained, name), local.current[name], local.age, age)
        else:
            array = _table(chosen, obtained, name, local.current[name])
        if not finite([array]):
            return False
        np.copyto(target, array)
    return True


def _floating(chosen: Obtained, name: str, current: Mapping[str, Array]) -> Array:
    decoded = chosen.decoder.decode(name)
    if decoded.mask is None or chosen.decoder.before is not None:  # a base fills up what did not come
        return decoded.array
    return np.where(decoded.mask, decoded.array, current[name])


def _counters(obtained: Sequence[Obtained], name: str) -> Array:
    return lower_median([item.decoder.decode(name).array for item in obtained])


def _table(chosen: Obtained, obtained: Sequence[Obtained], name: str, own: Array) -> Array:
    """The one that more than half of them have. Else that of the chosen one, which was trained with its weights, or another.

    None is taken whose values go beyond those of most of them: an index beyond their tables would end the training. If all do, the own one
    stays.
    """
    ordered = [chosen, *(item for item in obtained if item is not chosen)]
    tables = [item.decoder.decode(name).array for item in ordered]
    for table in tables:
        if 2 * sum(np.array_equal(table, other) for other in tables) > len(tables):
            return table
    outvoted = (len(tables) - 1) // 2  # so many may lie
    lowest = sorted(table.min() for table in tables)[outvoted]
    highest = sorted(table.max() for table in tables)[-1 - outvoted]
    return next((table for table in tables if lowest <= table.min() and table.max() <= highest), own)


def _squared_distance(one: Array, other: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):  # strangers' models: what is not finite is nobody's neighbour
        return float(np.sum(np.square(one - other, dtype=np.float64)))
