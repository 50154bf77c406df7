"""What several homes say together, as of one moment: how each peer is, what it measured, what it merged of whom, and what it refused.

Only reads: each home by its history, as `learnae status` does. Whoever wrote a home may have written anything into it, so all texts are
made harmless here, and everything has a bound: what is drawn does not grow with a history.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.home_facts import facts_of
from learnae.cli.home_state import HomeState, read_home
from learnae.cli.homes import is_of_sensor, processes_of
from learnae.cli.sensor_home import sensor_facts
from learnae.cli.why import meaning
from learnae.config.saved_config import kept
from learnae.errors import LearnaeError
from learnae.node.history_reader import PastEvaluation, PastRound
from learnae.observations import UpdateVerdict
from learnae.texts import CELL_CHARACTERS, harmless

MOST_PEERS = 64  # others that are told of, of one home
MOST_POINTS = 300  # of a curve
MOST_METRICS = 8
LOOKED_AT = 2_000  # of the newest rounds, and of the newest measured numbers
LOOKED_AT_REFUSALS = 400
MOST_REFUSALS = 40  # that are told one by one
MOST_REASONS = 20
KEY_DIGITS = 8
MOST_DEPTH = 8


@attrs.frozen
class TakenUpdates:
    """What a peer took of another one, over all its runs."""

    peer: str  # the other's key
    merged: int
    refused: int
    failed: int
    bytes: int
    last_at: float


@attrs.frozen
class NotMerged:
    """An update that was not merged. `at` is None for a round that is forgotten."""

    at: float | None
    home: str
    peer: str
    number: int
    round: int
    stage: str
    reason: str


@attrs.frozen
class Reason:
    """Why updates were not merged, and how often among the newest ones."""

    stage: str
    reason: str
    count: int
    meaning: str


Curve = Sequence[tuple[float, int, float]]
"""Points of a curve: when, on the wall clock; the age of the model, in steps; the value."""


@attrs.frozen(kw_only=True)
class HomeView:
    """One home. A home that cannot be read has an `error`, and hides no other."""

    home: str
    name: str
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    error: str | None = None
    measured: Mapping[str, Curve] = attrs.field(factory=dict)
    published: Curve = ()  # bytes, added up over all runs
    fetched: Curve = ()
    given: Sequence[TakenUpdates] = ()
    refusals: Sequence[NotMerged] = ()
    reasons: Sequence[Reason] = ()

    @property
    def peer(self) -> str | None:
        return self.facts.get("peer")

    @property
    def swarm(self) -> str:
        return self.facts.get("swarm") or "unknown"

    @property
    def lineage(self) -> str | None:
        return self.facts.get("lineage")

    @property
    def running(self) -> bool:
        return bool(self.facts.get("running"))


@attrs.frozen
class Overview:
    """All homes. `at` is on the machine's wall clock."""

    at: float
    homes: Sequence[HomeView]

    def name_of(self, peer: str) -> str:
        """The name of its home where it is one of these, else the beginning of its key."""
        return next((view.name for view in self.homes if view.peer == peer), peer[:KEY_DIGITS])

    @property
    def swarms(self) -> list[str]:
        return list(dict.fromkeys(view.swarm for view in self.homes if view.peer))

    @property
    def metrics(self) -> list[str]:
        """Of all homes, what most people look at first."""
        names = dict.fromkeys(name for view in self.homes for name in view.measured)
        return sorted(names, key=lambda name: (_RANKS.get(name, len(_RANKS)), name))[:MOST_METRICS]

    def lineages(self) -> dict[tuple[str, str], list[str]]:
        """The peers in each lineage of each swarm, by name: of these homes, and as they hear others."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for view in self.homes:
            if view.lineage and view.peer:
                found.setdefault((view.swarm, view.lineage), {})[view.name] = None
        own = {view.peer for view in self.homes}
        for view in self.homes:
            for peer in view.facts.get("peers", ()):
                if peer["lineage"] and peer["live"] and peer["peer"] not in own:
                    found.setdefault((view.swarm, peer["lineage"]), {})[peer["peer"][:KEY_DIGITS]] = None
        return {where: list(names) for where, names in found.items()}


_RANKS = {"accuracy": 0, "loss": 1, "eval_accuracy": 2, "eval_loss": 3}


def names_of(homes: Sequence[Path]) -> list[str]:
    """As short as they can be told apart by: `peer-1`, or `digits/peer-1`."""
    short = Counter(home.name for home in homes)
    longer = Counter(f"{home.parent.name}/{home.name}" for home in homes)
    names = [home.name if short[home.name] == 1 else f"{home.parent.name}/{home.name}" for home in homes]
    return [harmless(name if longer[name] < 2 else str(home), CELL_CHARACTERS) for home, name in zip(homes, names, strict=True)]


def view_of(home: Path, name: str) -> HomeView:
    """Blocks on the disk. Never raises for a home that cannot be read."""
    try:
        if is_of_sensor(home):
            return HomeView(home=harmless(str(home)), name=name, facts=_harmless(sensor_facts(home)))
        with read_home(home) as seen:
            return _view(seen, name)
    except (LearnaeError, OSError, ValueError, ArithmeticError) as error:  # one damaged home does not end the page of the others
        running = {"running": processes_of(home).running}
        return HomeView(home=harmless(str(home)), name=name, facts=running, error=harmless(str(error), CELL_CHARACTERS))


def _view(seen: HomeState, name: str) -> HomeView:
    reader, facts = seen.history.reader, facts_of(seen, MOST_PEERS)
    rounds = reader.past_rounds(LOOKED_AT)[::-1]
    turned_away = reader.turned_away(LOOKED_AT_REFUSALS)
    times = reader.round_times({verdict.round for verdict in turned_away[:MOST_REFUSALS]})
    totals = facts["bytes"]
    return HomeView(
        home=harmless(str(seen.home)),
        name=name,
        facts=_harmless({**facts, **_services(seen)}),
        measured=_measured(reader.evaluations(LOOKED_AT)),
        published=thinned(_added_up(rounds, [one.published_bytes for one in rounds], totals["published"])),
        fetched=thinned(_added_up(rounds, [one.fetched_bytes for one in rounds], totals["fetched"])),
        given=[
            TakenUpdates(harmless(one.peer), one.given.merged, one.given.refused, one.given.failed, one.given.bytes, one.last_at)
            for one in reader.contributions()[:MOST_PEERS]
        ],
        refusals=[_refusal(verdict, name, times) for verdict in turned_away[:MOST_REFUSALS]],
        reasons=reasons_of(turned_away),
    )


def _services(seen: HomeState) -> dict[str, Any]:
    """What its storages and announcers are, as it was run last."""
    settings = kept(seen.home)
    document = settings.document if settings else {}
    found = {}
    for kind in ("storage", "announcer"):
        tables = document.get(kind) or []
        tables = tables if isinstance(tables, list) else [tables]
        found[f"{kind}s"] = [str(table.get("use", "?")) for table in tables[:MOST_DEPTH] if isinstance(table, Mapping)]
    return found


def _measured(evaluations: Iterable[PastEvaluation]) -> dict[str, Curve]:
    curves: dict[str, list[tuple[float, int, float]]] = {}
    for one in evaluations:  # the newest first
        for name, value in one.metrics.items():
            if math.isfinite(value):
                curves.setdefault(harmless(name, CELL_CHARACTERS), []).append((one.at, one.age, value))
    return {name: thinned(curve[::-1]) for name, curve in list(curves.items())[:MOST_METRICS]}


def _added_up(rounds: Sequence[PastRound], amounts: Sequence[int], total: int) -> list[tuple[float, int, float]]:
    """So that the last one is the total of all runs."""
    so_far, curve = max(0, total - sum(amounts)), []
    for one, amount in zip(rounds, amounts, strict=True):
        so_far += amount
        curve.append((one.at, one.age, float(so_far)))
    return curve


def thinned(curve: Sequence[tuple[float, int, float]], most: int = MOST_POINTS) -> Curve:
    """So many points of it at most, evenly chosen, with the first and the last."""
    if len(curve) <= most:
        return curve
    step = (len(curve) - 1) / (most - 1)
    return [curve[round(place * step)] for place in range(most)]


def _refusal(verdict: UpdateVerdict, home: str, times: Mapping[int, float]) -> NotMerged:
    return NotMerged(
        at=times.get(verdict.round),
        home=home,
        peer=harmless(verdict.peer, CELL_CHARACTERS),
        number=verdict.number,
        round=verdict.round,
        stage=harmless(verdict.stage, CELL_CHARACTERS),
        reason=harmless(verdict.reason, CELL_CHARACTERS),
    )


def reasons_of(verdicts: Iterable[UpdateVerdict]) -> list[Reason]:
    """The most frequent first. What stands behind the first colon is of one update alone, as numbers are."""
    counts = Counter((verdict.stage, _kind_of(verdict.reason)) for verdict in verdicts)
    return [
        Reason(harmless(stage, CELL_CHARACTERS), harmless(kind, CELL_CHARACTERS), count, meaning(kind))
        for (stage, kind), count in counts.most_common(MOST_REASONS)
    ]


def _kind_of(reason: str) -> str:
    words = reason.partition(":")[0].split()
    return " ".join("…" if any(letter.isdigit() for letter in word) else word for word in words)


def _harmless(value: Any, depth: int = MOST_DEPTH) -> Any:
    """The same with each text in one line that does nothing. Numbers that are not finite are None: JSON has none of them."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not depth:
        return None
    if isinstance(value, Mapping):
        return {harmless(str(key), CELL_CHARACTERS): _harmless(item, depth - 1) for key, item in value.items()}
    return [_harmless(item, depth - 1) for item in value] if isinstance(value, list | tuple) else value


def overview_of(homes: Sequence[Path]) -> Overview:
    """Blocks on the disk."""
    return Overview(time.time(), [view_of(home, name) for home, name in zip(homes, names_of(homes), strict=True)])
