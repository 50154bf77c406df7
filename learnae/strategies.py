"""The seven kinds of strategies. These base classes are the contract between Learnae and the author of a plugin.

A method is async if and only if it can block. `Options` is an attrs class. Its fields are the keys of the strategy's TOML table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import attrs

from learnae.errors import signs_nothing
from learnae.observations import PeerConnection
from learnae.records import (
    Block,
    Budgets,
    Candidate,
    Cid,
    Decoded,
    Encoded,
    FirstLook,
    Heard,
    Judged,
    LocalModel,
    Merged,
    PeerId,
    Received,
    Selected,
    State,
    TensorSpec,
    View,
)

if TYPE_CHECKING:
    import numpy as np
    from structlog.typing import FilteringBoundLogger

    from learnae.errors import Problem
    from learnae.readers import Slices, TensorReader
    from learnae.records import Array
    from learnae.waiting import RunInThread

R = TypeVar("R")


@attrs.frozen
class NoOptions:
    """A strategy without keys of its own."""


@attrs.frozen(kw_only=True)
class Context:
    """What the core gives to every strategy. A strategy uses these, and no globals: then it also works in a simulation."""

    home: Path  # a folder for this strategy alone, inside the peer's home; make it before you use it
    meeting: Path  # a folder that all peers of this swarm on this machine share
    swarm: str
    peer: PeerId
    secret: Callable[[str], bytes | None]  # takes a purpose, returns a key derived from the swarm's key; None in an open swarm
    share: Callable[[type[R]], R]  # takes a class, returns the one instance of it that all strategies of this run share
    clock: Callable[[], float]  # seconds, monotonic, arbitrary start
    rng: np.random.Generator  # a seeded stream of this strategy's own
    log: FilteringBoundLogger
    in_thread: RunInThread
    channel: str = ""  # the name of the swarm on a medium: `announce` and `listen` are called with it
    budgets: Budgets = attrs.field(factory=Budgets)  # how many bytes storages may move
    existing_only: bool = False  # true for a command that looks into a home: use what is there, and make no folders or files
    sign: Callable[[bytes], bytes] = signs_nothing  # takes a message, returns 64 bytes; ValueError where it begins with `learnae/`
    first_look: Callable[[bytes], FirstLook] = lambda message: FirstLook()  # takes a message of anybody; quick, in the event loop


class Strategy:
    """The base of all seven kinds. A peer's file chooses a strategy by its name."""

    Options: ClassVar[type] = NoOptions

    def __init__(self, options: Any, context: Context) -> None:
        self.options = options
        self.context = context


class Connected(Strategy):
    """What all services have in common: what they claim, and what `learnae status` asks them.

    `leaves_machine` is true if the service may reach other machines, and so strangers. A peer starts with such a service only if its file
    has a key, lists peers in `peer.allow`, or says `swarm.open = true`. `keeps_budgets` is true if it keeps to `context.budgets`.
    """

    leaves_machine: ClassVar[bool] = True
    keeps_budgets: ClassVar[bool] = False

    def connections(self) -> Sequence[PeerConnection]:
        """The peers that are connected, and those that are known and are not. At most 1,000 are read.

        The core calls this and `addresses` in the event loop every few seconds: they must not block.
        """
        return ()

    def addresses(self) -> Sequence[str]:
        """At most 8 texts by which others reach this peer, as they write them into their own files."""
        return ()


class Service(Connected):
    """A strategy with a connection: a storage or an announcer. The core enters it before its first call, and leaves it after the last.

    The core makes several calls at once, and may cancel each. Run blocking code with `context.in_thread`, or derive from `BlockingStorage`
    or `BlockingAnnouncer`. An exception group counts as its gravest error: a mistake of the plugin before an error that the call allows.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def check(self) -> Sequence[str | Problem]:
        """Look whether all that this service needs outside is there. Return a line for what is fine, and a Problem as a warning.

        `learnae check` calls it, and does not enter the service before. It must start nothing, leave nothing behind, and disturb no peer
        that runs in the same home. It is cancelled after 20 seconds.
        Raises ConfigError with what the user must mend, UnavailableError for what only time mends.
        """
        return ()


class Storage(Service, ABC):
    """A store of blocks, which are named by their CIDs. The core computes every CID, and checks every block that a storage delivers.

    A storage gets several calls at once, and calls for blocks that it does not have.
    """

    @abstractmethod
    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        """Keep these blocks under this root. When this returns, they are on the disk.

        A block stays until every root that it was put under is dropped. A `put` is all or nothing. If it raises, is cancelled, or is killed
        with its process, `roots` does not name the root. A storage that frees space at once then delivers no block of it either.
        `blocks` may be iterated once, in any thread. An exception that the iteration raises must come through. A second `put` of the same
        root replaces its blocks. If that fails, the root is as it was before, or it is lost. Raises UnavailableError.
        """

    @abstractmethod
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        """Call `deliver` with each block as it comes, in any order, once or more.

        At the end raises UnavailableError if blocks did not come. Its `missing` names all of them.
        `deliver` may be called from any thread. It does not block, and does not raise. It ignores blocks that nobody asked for, and blocks
        that come after `get` has ended. It copies data that is not plain bytes. `hints` are texts that strangers wrote.
        """

    @abstractmethod
    async def drop(self, root: Cid) -> None:
        """Forget this root. Blocks that were put under no other root may go. An unknown root is no error. Raises UnavailableError."""

    @abstractmethod
    async def roots(self) -> Sequence[Cid]:
        """The roots that this peer has put and not dropped, each once, with those of earlier runs. Raises UnavailableError."""

    def hints(self) -> Sequence[str]:
        """At most 8 texts, of at most 200 characters, that tell others where this store can be reached. It must not block."""
        return ()


class Announcer(Service, ABC):
    """A medium for small messages. It may lose, repeat, reorder and invent messages. The core checks all of them.

    `max_bytes` is the size of the largest message that the medium carries. Learnae's own messages have at most 1,090 bytes.
    One whose peers pass on what they hear asks `context.first_look` before it checks a message, keeps it or passes it on: see `FirstLook`.
    """

    max_bytes: ClassVar[int]

    @abstractmethod
    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        """Send this message on this channel. It replaces the earlier message on this channel that had the same key `replaces`.

        The core may call it several times at once, and while `listen` runs.
        Raises UnavailableError if it is not sure that the message was sent, and ValueError for a message longer than `max_bytes`.
        """

    @abstractmethod
    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        """Call `deliver` with each message on these channels, in any order, once or more, until cancelled.

        Each call first looks at the messages that lie on the medium. They are delivered with `backlog=True`. Messages that come after
        this first look are delivered with `backlog=False`. If the medium was gone in between, the next look is a first one again.
        `deliver` may be called from any thread. It does not block, and does not raise. It ignores messages that come after `listen` has
        ended. Raises UnavailableError when the medium is gone. The core then calls `listen` again after a pause, which grows. It never
        calls `listen` while another call of it runs.
        """


class Selector(Strategy, ABC):
    """Chooses which candidates to fetch: updates, and slices of rows with `slices`. Else the core fetches slices by an order of its own."""

    slices: ClassVar[bool] = False
    named: Collection[PeerId] = ()  # whose updates it sees also where strangers are so many that the core shows some of them alone

    @abstractmethod
    def select(self, view: View) -> Sequence[Candidate] | Selected:
        """Return at most `view.count` of `view.candidates`, the most wanted first.

        A selector that remembers something returns a `Selected` with its new state, which the next call finds in `view.state`. The core
        saves it at once, as that of a gate, whether or not the merged model is adopted, and gives it back after a restart.
        """


class Gate(Strategy, ABC):
    """Judges fetched updates before they are merged."""

    @abstractmethod
    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        """Return one verdict for each received update, in the same order. The core applies weight and scale.

        A refusal that says nothing but that two models are far apart should not blame the peer: `Verdict(weight=0.0, blames=False)`.
        """


class Merge(Strategy, ABC):
    """Turns the own model and the accepted ones into one."""

    library: ClassVar[str] = "numpy"  # what `combine` of an `ElementwiseMerge` gets: "numpy" or "torch"

    @abstractmethod
    def merge(self, local: LocalModel, received: Sequence[Received], state: State) -> Merged:
        """Return each tensor of `local.current` once, in the same shape: float32, and int64 for integer tensors. Change no argument.

        A merged buffer (`local.buffers`) should lie between those of the models. The core moves it there if it does not, and keeps the own
        value of every tensor that cannot be mixed.
        """


class ElementwiseMerge(Merge):
    """A merge that treats every coordinate alike. Most authors write this kind. Integer tensors are merged by maximum."""

    CHUNK: ClassVar[int] = 1 << 16

    @abstractmethod
    def combine(self, stacked: Any, weights: Any) -> Any:
        """Combine `stacked` (float32, n x shape; row 0 is the own model) into one array of that shape.

        `weights` (float32, n) sums to 1. Where a value of an update did not come, `stacked` has the own value.
        The core calls this for pieces of tensors, so the result must not depend on the shape.
        """

    def weigh(self, local: LocalModel, received: Sequence[Received]) -> Sequence[float]:
        """Return the weight of each received update, before normalisation. The own model has the weight 1."""
        return [item.weight for item in received]

    def merge(self, local: LocalModel, received: Sequence[Received], state: State) -> Merged:
        from learnae.elementwise import combine_all

        return Merged(combine_all(self, local, received))


class Outer(Strategy, ABC):
    """A second stage after any merge. It changes the step from the last merged model to the new one, as momentum does.

    `local`, `merged` and `masks` hold trained parameters only, no buffers and no integers.
    """

    takes_readers: ClassVar[bool] = False  # true: in place of an array `merged` may yield a `TensorReader`, and so may what it returns

    @abstractmethod
    def step(self, local: LocalModel, merged: Iterator[tuple[str, Array | None]], masks: Mapping[str, Any], state: State) -> Merged:
        """Return the model after this step.

        `merged` yields the pairs of name and tensor that the merge made. It can be iterated once. `masks` has an entry for each tensor of
        which no accepted update came whole: true where a value of one of them came.
        """


class Codec(Strategy, ABC):
    """Turns floating tensors into bytes and back.

    One with `versions` above 1 has a base. The core encodes a version without a base; the next `versions - 1` name it as their base, and
    each tensor of them is encoded beside what readers decode of that one. With `chained` it is encoded beside what they decode of the
    version before. A base is read-only. A reader that lacks it fetches it.
    """

    versions: int = 1  # an `__init__` may set it from the options
    chained: ClassVar[bool] = False
    small: ClassVar[int] = 1024  # tensors of at most so many values travel in float32, and never reach the codec; nor do vectors
    lossless: ClassVar[bool] = False  # true: small tensors and vectors reach it too

    @abstractmethod
    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        """Return bytes and meta for one float32 tensor. The same tensor, base and random stream must give the same bytes.

        `base` has the shape of the tensor. It is None if `versions` is 1, and in each version that is to be the base of the next ones.
        """

    @abstractmethod
    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        """Return the tensor in the shape of `like`. Raises UpdateRejectedError for any bytes or meta that do not fit `like`.

        `base` is what `encode` got. Where a mask is false, the array has the value of the base, if there is one.
        """

    def check(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> None:
        """Raises UpdateRejectedError where `decode` would. Override it if checking is cheaper than decoding.

        In place of a base it gets zeros in that shape: what it lets pass, `decode` decodes beside any base.
        """
        self.decode(encoded, like, base)

    def finite(self, encoded: Encoded) -> bool:
        """Return whether every value that came is surely finite, without decoding. The core calls it after `check`."""
        return False

    def reader(self, data: Slices, meta: Mapping[str, Any], like: TensorSpec) -> TensorReader | None:
        """Return what decodes a tensor without a base piece by piece, to the same bits as `decode`; None: it is decoded as a whole.

        Such a tensor always comes whole, without a mask. Raises UpdateRejectedError where `check` would: then this is called in its place.
        """
        return None
