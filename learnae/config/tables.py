"""Every key of a peer's file, with its default, its bounds and its documentation: the only place that says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import and_, ge, gt, in_, le, max_len, min_len, optional

from learnae.config import presets
from learnae.records import MEGABYTE

DAY = 86_400.0  # seconds
YEAR = 365 * DAY  # longer is for ever
LICENCE_CHARACTERS, SOURCE_CHARACTERS = 64, 256  # those of `learnae.data.about`, which needs numpy
LARGEST_BYTES = 4096 * MEGABYTE  # of an update, where neither the file nor an own model says so


PROGRAM = "program"


def option(default: Any, doc: str, validator: Any = None, *, program: bool = False) -> Any:
    """A field of an attrs class of options: one key of the TOML table. It has a default, a documentation and perhaps a validator.

    `program` says that its value names a program that the strategy starts. Then `learnae check` says first that the file runs it.
    """
    return attrs.field(default=default, validator=validator, metadata={"doc": doc, PROGRAM: program})


@attrs.frozen
class Matches:
    """A validator for a text, or for each text of a list. `meaning` completes the sentence "must be ..."."""

    pattern: str
    meaning: str

    def __call__(self, _: Any, field: Any, value: str | tuple[str, ...]) -> None:
        texts = (value,) if isinstance(value, str) else value
        if not all(re.fullmatch(self.pattern, text) for text in texts):
            raise ValueError(f"must be {self.meaning}")


@attrs.frozen
class LowHigh:
    """A validator for a table of pairs: the first number of each is not above the second."""

    meaning: str = "a table of pairs, the lowest number and the highest: {temperature = [-90.0, 60.0]}"

    def __call__(self, _: Any, field: Any, value: Mapping[str, tuple[float, float]]) -> None:
        if any(low > high for low, high in value.values()):
            raise ValueError(f"must be {self.meaning}")


PUBLIC_KEYS = Matches("[0-9a-f]{64}", "64 lower-case hexadecimal digits, as `learnae status` of that peer shows them")
ENTRY = optional(Matches(r"[^\W\d][\w.]*:[^\W\d]\w*", '"module:function"'))
ADDRESS = optional(Matches(r"([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:]+\]):[0-9]{1,5}", '"address:port", the address in numbers'))
LINEAGE = optional(Matches("[0-9a-f]{16}", "16 lower-case hexadecimal digits"))
DURATION = and_(gt(0.0), le(YEAR))


@attrs.frozen(kw_only=True)
class SwarmTable:
    """Which peers train together."""

    name: str = option("default", "Peers with the same name (and key) train the same model.", and_(min_len(1), max_len(200)))
    key_env: str | None = option(None, "The environment variable that holds the key of a private swarm.", optional(min_len(1)))
    key_file: Path | None = option(None, "The file that holds the key of a private swarm.")
    open: bool = option(False, "Consent to train with whoever comes, over media that leave this machine.")
    weights_only: bool = option(
        False, "No peer of this swarm gives or takes rows of data: it is part of the swarm's id, so peers that say otherwise are not heard."
    )


SERVING = ("keeper", "provider")
"""Roles of a node that nobody trains beside."""

ROLES = ("trainer", "provider", "keeper", "observer", "sensor")


@attrs.frozen(kw_only=True)
class PeerTable:
    """This peer: what it does, where it lives, whom it hears and what it bears."""

    role: str = option(
        "trainer",
        'What it does: "trainer" trains; "provider" gives rows and does not train; "keeper" stores and passes on what others publish; '
        '"observer" evaluates their model on rows of its own; "sensor" sends readings.',
        in_(ROLES),
    )
    home: Path | None = option(None, "The peer's folder, beside this file; without it the next free one under the state folder.")
    allow: tuple[str, ...] = option(
        (), "The public keys that are heard; none named: everyone is. `learnae check` and `swarm.peer` show a peer's own.", PUBLIC_KEYS
    )
    deny: tuple[str, ...] = option((), "Public keys that are never heard.", PUBLIC_KEYS)
    relay: bool = option(
        False,
        "Pass on what others announce and store on one of this peer's media to its other media, for peers that share none. "
        "A keeper does it anyway.",
    )
    share_contributions: bool = option(
        False,
        "Publish a signed view of what each other peer gave to this one: whom it merges, whom it refuses, and how many bytes it got. All "
        "members of the swarm can read it; of an open one everybody. It cannot be taken back. For a trainer or an observer.",
    )
    max_update_bytes: int | None = option(
        None,
        "The largest update that is fetched, where that is less than one of the own model can take; for `learnae export` 4 GiB without it.",
        optional(gt(0)),
    )
    quota_bytes: int = option(
        4096 * MEGABYTE, "The disk space for own updates, and for those it relays; the own newest is kept whatever it takes.", gt(0)
    )
    upload_bytes_per_second: int | None = option(
        None, "What storages send in a second, at most; `learnae check` names those that do not keep it.", optional(ge(1024))
    )
    upload_bytes_per_hour: int | None = option(None, "What storages send in an hour, at most.", optional(ge(MEGABYTE)))
    download_bytes_per_second: int | None = option(None, "What storages fetch in a second, on average, at most.", optional(ge(1024)))
    download_bytes_per_hour: int | None = option(None, "What storages fetch in an hour, at most.", optional(ge(MEGABYTE)))
    seed: int | None = option(None, "Makes the peer's random choices repeatable.", optional(ge(0)))


@attrs.frozen(kw_only=True)
class TrainTable:
    """The training loop and its contact with the node."""

    entry: str | None = option(
        None, 'For `learnae run`: "module:function" beside this file, which returns a `learnae.TrainingLoop`.', ENTRY
    )
    local_steps: int = option(20, "Optimiser steps between two snapshots, at most.", gt(0))
    round_seconds: float = option(
        10.0,
        "Time between two snapshots, at most: with slow steps there are fewer than local_steps between them, but always one.",
        DURATION,
    )
    patience: float = option(
        0.1, "The share of its time that the trainer may wait for merges, saved up for whole ones; 0 never waits.", and_(ge(0.0), le(1.0))
    )
    save_seconds: float = option(30.0, "Time between two checkpoints of `learnae run`.", DURATION)


@attrs.frozen(kw_only=True)
class ModelTable:
    """Which tensors are shared."""

    keep_local: tuple[str, ...] = option((), 'Patterns of tensors that stay local, such as "*.running_*".')


@attrs.frozen(kw_only=True)
class DataTable:
    """Which rows of training data this peer gives, and which it takes. Without this table it does neither."""

    share: str = option(
        "nothing",
        'Consent: "slices" gives own rows to the swarm, as many as share_rows or share_fraction say. Who has fetched them keeps them.',
        in_(("nothing", "slices")),
    )
    share_rows: int | None = option(
        None, "The most rows that are ever given from this home, however the data change: see docs/how-to/data.md.", optional(gt(0))
    )
    share_fraction: float | None = option(
        None, "The largest share of the rows that is ever given from this home.", optional(and_(gt(0.0), le(1.0)))
    )
    licence: str = option(
        "", 'Under which licence, such as "CC0-1.0"; needed where rows or readings are given.', max_len(LICENCE_CHARACTERS)
    )
    entry: str | None = option(
        None,
        'For a provider: "module:function" beside this file, which returns its rows: arrays, or the path of a CSV, Parquet or npz file.',
        ENTRY,
    )
    label: str | None = option(
        None, 'For a provider: the column that is to be predicted; without it the one called "label".', optional(min_len(1))
    )
    source: str = option("", "Where they come from, in words; others read it.", max_len(SOURCE_CHARACTERS))
    accept_bytes: int = option(0, "The disk space for rows of others; 0: none are fetched. For a keeper it is part of quota_bytes.", ge(0))
    licences: tuple[str, ...] = option((), "The licences under which rows of others are taken; none named: any that is said.")
    ranges: Mapping[str, tuple[float, float]] = option(
        attrs.Factory(dict), "By column, the lowest and the highest number in rows of others: what is outside is refused.", LowHigh()
    )
    gather: bool = option(
        False, "Gather the readings of sensors into slices, which go to the rows of others; with share they are given to others too."
    )
    gather_rows: int = option(
        256, "The readings of one sensor in a slice: peers with the same number make the same slices.", and_(ge(1), le(4096))
    )
    gather_seconds: float = option(
        DAY, "How long the first reading waits for the others; then the slice is made of those that are there.", DURATION
    )


@attrs.frozen(kw_only=True)
class SensorTable:
    """What a peer with the role "sensor" sends. Its readings go to whoever hears it, under the licence in `[data]`."""

    columns: Mapping[str, str] = option(
        attrs.Factory(dict),
        'What a reading has, as the rows that others train on: {temperature = "float32", station = "text", acceleration = "float32[3]"}.',
    )
    label: str | None = option(None, "The column that is to be predicted, if there is one.")
    entry: str | None = option(
        None,
        '"module:function" beside this file: a function that returns a reading, or a generator of them. Without it readings are lines on '
        "standard input: JSON objects, or CSV with a header.",
        ENTRY,
    )
    seconds: float = option(2.0, "Time between two readings that a function is asked for.", DURATION)
    message_seconds: float = option(2.0, "Time between two messages: readings that come meanwhile go together.", and_(ge(0.1), le(DAY)))
    keep_readings: int = option(
        10_000, "How many readings wait while nothing can be sent; then the oldest are lost.", and_(ge(1), le(1_000_000))
    )


@attrs.frozen(kw_only=True)
class JoinTable:
    """How a peer without a lineage finds one."""

    wait_seconds: float = option(2.0, "How long a newcomer listens before it founds a lineage.", and_(ge(0.0), le(DAY)))
    settle_rounds: int = option(10, "Rounds in a lineage after which a peer is established.", ge(0))
    settle_seconds: float = option(
        10.0, "Seconds in a lineage after which a peer is established; at least three times wait_seconds.", and_(ge(0.0), le(YEAR))
    )
    on_split: str = option(
        "report",
        'What an established peer does about another such lineage: "report" tells of it, "yield" also goes to the one with more peers.',
        in_(("report", "yield")),
    )
    trust: tuple[str, ...] = option((), "The public keys whose models a newcomer may adopt; none named: it follows the most.", PUBLIC_KEYS)
    lineage: str | None = option(
        None,
        "Join only this lineage (16 hexadecimal digits), and found no other: until somebody of it is heard, this peer trains alone.",
        LINEAGE,
    )
    fresh: bool = option(False, "Start anew: neither adopt nor build on what an earlier run left behind.")


@attrs.frozen(kw_only=True)
class NodeTable:
    """The node's pace and limits."""

    fetch_seconds: float = option(10.0, "The deadline of a fetch before any transfer was measured.", DURATION)
    fresh_rounds: int = option(8, "Updates heard within this many own rounds are candidates.", gt(0))
    hang_seconds: float = option(
        30.0, "A strategy that does not return within this time is ended with its node, and put in quarantine.", and_(ge(1.0), le(YEAR))
    )
    bench_rounds: int = option(10, "Rounds for which a strategy that hung is not called.", gt(0))
    inbox_peers: int = option(1024, "How many peers are remembered at once.", gt(0))
    save_seconds: float = option(30.0, "Time between two writes of the strategies' state.", DURATION)


@attrs.frozen(kw_only=True)
class MetricsTable:
    """What is told to programs that watch peers; nothing of it leaves the machine by itself."""

    prometheus: str | None = option(
        None, 'Where Prometheus reads this node\'s numbers, such as "127.0.0.1:9464" (needs learnae[prometheus]).', ADDRESS
    )
    tensorboard: Path | None = option(None, "The folder to which rounds are written for TensorBoard (needs learnae[tensorboard]).")


@attrs.frozen(kw_only=True)
class PluginsTable:
    """Which plugins are loaded."""

    disable: tuple[str, ...] = option((), "Distributions or plugin names that are not loaded.")


@attrs.frozen
class Choice:
    """One strategy as the file chose it: its name and its own options."""

    use: str = attrs.field(metadata={"doc": "The name of the strategy; `learnae plugins` lists them."})
    options: Any


@attrs.frozen
class StorageChoice(Choice):
    write: bool = option(True, "Whether own updates are put here; reads try all storages in order.")


@attrs.frozen
class SelectorChoice(Choice):
    count: int = option(2, "How many updates are fetched in a round.", gt(0))


@attrs.frozen(kw_only=True)
class Config:
    """A peer's whole file, checked."""

    preset: str = presets.DEFAULT
    swarm: SwarmTable = attrs.field(factory=SwarmTable)
    peer: PeerTable = attrs.field(factory=PeerTable)
    train: TrainTable = attrs.field(factory=TrainTable)
    model: ModelTable = attrs.field(factory=ModelTable)
    data: DataTable = attrs.field(factory=DataTable)
    sensor: SensorTable = attrs.field(factory=SensorTable)
    join: JoinTable = attrs.field(factory=JoinTable)
    node: NodeTable = attrs.field(factory=NodeTable)
    metrics: MetricsTable = attrs.field(factory=MetricsTable)
    plugins: PluginsTable = attrs.field(factory=PluginsTable)
    storage: tuple[StorageChoice, ...]
    announcer: tuple[Choice, ...]
    selector: SelectorChoice
    gate: tuple[Choice, ...]
    merge: Choice
    codec: Choice
    outer: Choice | None = None
    folder: Path = attrs.field(factory=Path.cwd)  # where the file lies: relative paths and `my_file:MyMerge` start here
