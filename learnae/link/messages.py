"""The messages between a trainer and its node. They travel as lines of JSON, which are strict and bounded in length.

The trainer copies its model into a *slot*, and names the slot in a Snapshot. From then on the slot belongs to the node, until the node
releases it. The node writes a merged model into one of two *pages*, and names page and slot in a MergeResult. The trainer then computes
`parameter += page - slot`, and answers with the number that it has adopted. If the model has not changed since the snapshot, it copies the
page bit for bit. Buffers are assigned where the page differs from the slot, never added to. Integers of a merged model count as counters,
which only grow. At most one offer is open. The node keeps the slot of its offer until the offer is adopted.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from learnae.errors import ConfigError, LearnaeError, PluginError, Problem
from learnae.observations import RoundReport
from learnae.plugins.calls import described, gravest_of
from learnae.records import TensorSpec

if TYPE_CHECKING:
    from learnae.records import Array


SLOTS = 2
PAGES = 2


@attrs.frozen
class Evaluation:
    """What the user's function has measured on test data, of the model as it was after an adoption. All numbers are finite."""

    number: int  # of this run's evaluations, from 1
    adoption: int
    metrics: Mapping[str, float]


@attrs.frozen
class TrainerProgress:
    """How far the trainer's model has come. Lineage and age belong to the model, not to the home."""

    adoption: int  # the last adopted offer of this trainer run, 0 at first
    lineage: bytes  # 8 bytes, or empty: the model has none yet
    age: int  # optimiser steps in the history of the model
    steps: int  # own optimiser steps
    samples: int
    step_seconds: float
    loss: float | None = None
    evaluation: Evaluation | None = None  # the last one


@attrs.frozen
class Hello:
    """The trainer's first word to each node that it starts."""

    run: str  # names this run of the trainer; adoption numbers count within it
    session: str  # names this start of the node; offers of other sessions are void
    progress: TrainerProgress
    specs: tuple[TensorSpec, ...]
    frozen: bytes = b""  # digest of the parameters that are not shared
    resumed: str = ""  # the run that the trainer's checkpoint came from, if any
    resumed_adoption: int = 0


@attrs.frozen
class Snapshot:
    """A copy of the trainer's model: float32 for floating tensors, int64 for the others; read-only."""

    slot: int
    progress: TrainerProgress
    tensors: Mapping[str, Array]


@attrs.frozen
class MergeResult:
    """A merged model for the trainer to adopt."""

    session: str
    number: int  # the next adoption number of this trainer run
    page: int
    slot: int  # the snapshot that it was merged from
    lineage: bytes
    age_gain: int  # added to the model's age on adoption: the merged age less the snapshot's; may be negative when moving
    outcome: str  # as in RoundReport

    @property
    def whole(self) -> bool:
        """Whether it is the model of another peer (or the own one), not one in which several were merged."""
        return self.outcome != "merged"


class TrainerGoneError(Exception):
    """The trainer has ended, or has closed the link. The node has to leave."""


class Link(Protocol):
    """The node's end."""

    @property
    def hello(self) -> Hello: ...

    async def next_snapshot(self) -> Snapshot:
        """Wait for the newest snapshot; older ones that were not taken go back by themselves. Raises TrainerGoneError."""

    def release(self, slot: int) -> None:
        """Give a slot back to the trainer."""

    def page(self, index: int) -> Mapping[str, Array]:
        """The writable arrays of one merged page."""

    def offer(self, offer: MergeResult) -> None:
        """Hand a merged model over."""

    async def adopted(self, number: int) -> None:
        """Wait until the trainer has named this number. Raises TrainerGoneError."""

    def send_report(self, report: RoundReport, outages: Mapping[str, str]) -> None:
        """Show a round to the trainer's side, and what does not work now."""


TRACE = 8000
"""Characters of a traceback that pass between the two."""


@attrs.frozen
class Quarantined:
    """A strategy that hung. The node does not call it for so many rounds."""

    label: str
    rounds: int
    why: str


@attrs.frozen
class Start:
    """The trainer's first line: the hello, and all that a node needs to begin. Descriptors are inherited."""

    hello: Hello
    config: Mapping[str, Any]  # the peer's file as learnae.config.saved_config.dump made it
    folder: str  # where that file lies
    home: str
    memory_fd: int
    home_fd: int = -1  # holds the lock on the home
    overrides: tuple[str, ...] = ()  # that `config` does not contain yet
    log: Mapping[str, str] = attrs.field(factory=dict)  # level and format
    quarantined: tuple[Quarantined, ...] = ()
    beat_seconds: float = 1.0  # between two signs that the node's loop runs


@attrs.frozen
class Taken:
    """From the trainer: this slot holds a snapshot, and is yours. An interrupted trainer may send it again, with the same number."""

    slot: int
    progress: TrainerProgress
    number: int = 0  # of this run's snapshots, from 1; 0: not counted


@attrs.frozen
class Adopted:
    """From the trainer: the model contains this offer."""

    number: int


@attrs.frozen
class Want:
    """From the node: hand over a snapshot as soon as one is due. The first one also says that the node is up."""


@attrs.frozen
class Release:
    """From the node: this slot is yours again."""

    slot: int


@attrs.frozen
class Report:
    """From the node: a round has ended."""

    report: RoundReport
    outages: Mapping[str, str] = attrs.field(factory=dict)  # what does not work now, with the cause


@attrs.frozen
class Failed:
    """From the node: the reason why it is about to end."""

    text: str
    problems: tuple[Problem, ...] = ()
    plugin: str = ""
    action: str = ""
    cause: str = ""
    trace: str = ""  # the last lines of a bug's traceback

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        told = gravest_of(error)
        try:
            match told:
                case ConfigError():
                    return cls(str(told), problems=told.problems)
                case PluginError():
                    return cls(str(told), plugin=told.plugin, action=told.action, cause=told.cause)
            return cls(described(told)[:TRACE], trace="".join(traceback.format_exception(error))[-TRACE:])
        except BaseException:  # an exception of a plugin's own, that raises when it is looked at: it must not hide that the node ends
            return cls(described(told)[:TRACE])

    def shorter(self) -> Iterator[Failed]:
        """The same in fewer and fewer words: the traceback goes first, then the ends of what is said; who must act stays to the last."""
        yield self
        for most in (TRACE // 2, TRACE // 8):
            yield attrs.evolve(self, trace=self.trace[-most:])
        for most in (4096, 1024, 256, 64):
            yield Failed(
                self.text[:most],
                problems=tuple(_cut(problem, most) for problem in self.problems[: most // 8]),
                plugin=self.plugin[:most],
                action=self.action[:most],
                cause=self.cause[:most],
            )

    def as_error(self) -> LearnaeError | None:
        """The error that somebody must act on, or None if it was a bug."""
        if self.problems:
            return ConfigError(self.problems)
        return PluginError(self.plugin, self.action, self.cause) if self.plugin else None


def _cut(problem: Problem, most: int) -> Problem:
    return Problem(problem.key[:most], problem.message[:most], None if problem.suggestion is None else problem.suggestion[:most])


ToNode = Start | Taken | Adopted
ToTrainer = Want | Release | MergeResult | Report | Failed
Message = ToNode | ToTrainer


MAX_LINE = 64 * 1024
MAX_START = 64 << 20
"""The first line carries name and shape of every tensor."""


_MESSAGE: Any = Message  # a union, which mypy does not take for a type


class GarbledError(Exception):
    """The other side has sent something that makes no sense. It is ended and started again."""


class Lines:
    """Encodes and decodes messages; one for each end of a link."""

    def __init__(self) -> None:
        self._converter = _strict_converter()

    def encode(self, message: Message, limit: int = MAX_LINE) -> bytes:
        """One line with its line feed. Raises ValueError if it would exceed the limit."""
        text: str = self._converter.dumps(message, unstructure_as=Message, default=_plain)
        line = text.encode() + b"\n"
        if len(line) > limit:
            raise ValueError(f"{type(message).__name__} makes a line of {len(line)} bytes, more than {limit}")
        return line

    def decode(self, line: bytes, limit: int = MAX_LINE) -> Message:
        """Raises GarbledError for anything but one whole line with one message."""
        if len(line) > limit or not line.endswith(b"\n"):
            raise GarbledError(f"a line of {len(line)} bytes without an end, or longer than {limit}")
        try:
            message: Message = self._converter.loads(line, _MESSAGE)
        except (ValueError, ArithmeticError, TypeError, KeyError, AttributeError, RecursionError, ForbiddenExtraKeysError) as error:
            raise GarbledError(f"{error!r} in {line[:100]!r}") from error
        return message


def _strict_converter() -> JsonConverter:
    converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _only(kind))
    converter.register_structure_hook(float, _number)
    converter.register_unstructure_hook(bytes, bytes.hex)
    converter.register_structure_hook(bytes, lambda value, _: bytes.fromhex(value))
    configure_tagged_union(Message, converter, tag_name="is")
    return converter


def _only(kind: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return structure


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _plain(value: Any) -> Any:
    """What a plugin may have put into a record: bytes, and numbers of numpy."""
    return value.hex() if isinstance(value, bytes) else value.item()


RECEIVE_BYTES = 1 << 16


class LineStream(trio.abc.AsyncResource):
    """Receives messages one by one and sends encoded lines; one task each."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._lines, self._rest = stream, Lines(), bytearray()

    def encode(self, message: Message) -> bytes:
        return self._lines.encode(message)

    async def send(self, line: bytes) -> None:
        await self._stream.send_all(line)

    async def receive(self, limit: int = MAX_LINE) -> Message | None:
        """The next message, or None at the end. Raises GarbledError, and what a stream raises."""
        seen = 0
        while (end := self._rest.find(b"\n", seen)) < 0:
            seen = len(self._rest)
            if seen > limit:
                raise GarbledError(f"no line ends within {limit} bytes")
            data = await self._stream.receive_some(RECEIVE_BYTES)
            if not data:
                return None
            self._rest += data
        line = bytes(self._rest[: end + 1])
        del self._rest[: end + 1]
        return self._lines.decode(line, limit)

    async def aclose(self) -> None:
        await self._stream.aclose()
