"""The seven kinds of strategies: the contract between Learnae and whoever writes a plugin.

A function is async if and only if it can block. Options are an attrs class: its fields are the keys of the strategy's TOML table.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import attrs

from learnae.records import (
    Block,
    Candidate,
    Cid,
    Decoded,
    Encoded,
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

    from learnae.records import Array

R = TypeVar("R")
T = TypeVar("T")


@attrs.frozen
class NoOptions:
    """A strategy without keys of its own."""


class RunInThread(Protocol):
    """Runs a blocking function in a worker thread; under virtual time it runs it inline."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]: ...


def signs_nothing(message: bytes) -> bytes:
    """What `Context.sign` is where no peer runs."""
    raise ValueError("nothing is signed here: a command that only looks at a home has no key")


@attrs.frozen(kw_only=True)
class Context:
    """What the core hands to every strategy: use these, never a global."""

    home: Path  # inside the peer's home, for this strategy alone; not there until you make it
    meeting: Path  # where peers of this machine meet without a network, by swarm
    swarm: str
    peer: PeerId
    secret: Callable[[str], bytes | None]  # a key for this purpose, from the swarm's key; None in an open swarm
    share: Callable[[type[R]], R]  # the one instance of that type that all strategies of this run share
    clock: Callable[[], float]  # seconds, monotonic, arbitrary start
    rng: np.random.Generator  # a seeded stream of this strategy's own
    log: FilteringBoundLogger
    in_thread: RunInThread
    channel: str = ""  # under which announcers know the swarm: what `announce` and `listen` are called with
    existing_only: bool = False  # for a command that looks into a home: use what is there, and make no folders or files
    sign: Callable[[bytes], bytes] = (
        signs_nothing  # 64 bytes, as this peer; ValueError for what begins with `learnae/`, which is the core's
    )


class Strategy:
    """A named choice of one of seven kinds."""

    Options: ClassVar[type] = NoOptions

    def __init__(self, options: Any, context: Context) -> None:
        self.options = options
        self.context = context


class Service(Strategy):
    """A strategy with a connection: entered before its first call, left after its last.

    Its calls may run beside each other, and each may be cancelled. A group of one error, as a nursery raises it, counts as that error. Of
    several errors the gravest counts: a mistake, then what the call may raise. What blocks runs in `context.in_thread`, which is this
    strategy's own, or derives from `BlockingStorage` or `BlockingAnnouncer`.

    One that `leaves_machine` may reach strangers: without a key, an allow list or consent a peer does not start with it.
    """

    leaves_machine: ClassVar[bool] = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def check(self) -> Sequence[str]:
        """What is fine about everything outside that this service needs, a short line each: for `learnae check`, without being entered.

        Starts nothing, leaves nothing behind, and disturbs no peer that runs in the same home; it is cut off after a while.
        Raises ConfigError with what must be mended and how, UnavailableError for what only time mends.
        """
        return ()


class Storage(Service, ABC):
    """A store of blocks by CID. The core computes and checks every CID; a storage may be asked for anything, several times at once."""

    @abstractmethod
    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        """Keep these blocks, durably, before returning. A block lives while any put root names it.

        All or nothing: what raises, is cancelled or is killed with its process leaves nothing behind that counts. `roots` does not name
        the root, and a storage that frees what nobody names delivers none of its blocks. `blocks` is iterated once, in any thread; what
        it raises comes through. Putting a root again replaces its blocks by the new ones; where that fails, the root may be as it was
        before, or be lost. Raises UnavailableError.
        """

    @abstractmethod
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        """Deliver each block as it comes, in any order, once or more. Raises UnavailableError with all others as `missing` after that.

        `deliver` may be called from any thread. It neither blocks nor raises, ignores what nobody asked for and what comes after `get` has
        ended, and copies what is not plain bytes. `hints` are texts of strangers.
        """

    @abstractmethod
    async def drop(self, root: Cid) -> None:
        """Forget this root; blocks that no other root names may go. An unknown root is no error. Raises UnavailableError."""

    @abstractmethod
    async def roots(self) -> Sequence[Cid]:
        """What this peer has put and not dropped, also in earlier runs, each once: for the clean-up after a crash.

        Raises UnavailableError.
        """

    def hints(self) -> Sequence[str]:
        """At most 8 short texts that tell others where this store can be reached. Asked often, in the loop: it must not block."""
        return ()


class Announcer(Service, ABC):
    """A medium for small messages. It may lose, repeat, reorder and invent messages: the core checks all of them."""

    max_bytes: ClassVar[int]

    @abstractmethod
    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        """Send; `replaces` is the key of what this message supersedes.

        The core may call it again before it has returned, and beside `listen`.
        Raises UnavailableError, when the message may have been sent all the same; ValueError above `max_bytes`.
        """

    @abstractmethod
    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        """Deliver messages until cancelled, in any order, each once or more. What the first complete look brings, also after an outage,
        is backlog.

        Never called again before it has ended. `deliver` may be called from any thread; it neither blocks nor raises, and ignores what
        comes after `listen` has ended. Raises UnavailableError when the medium is gone; the core calls again with back-off.
        """


class RunningCall(Protocol):
    """One call of a blocking service, as its own thread sees it."""

    def wait(self, seconds: float) -> bool: ...

    def interruptible(self, interrupt: Callable[[], object]) -> AbstractContextManager[None]: ...


RUNNING_CALL: ContextVar[RunningCall | None] = ContextVar("learnae_running_call", default=None)
"""The call of a blocking service that runs here: set by the core, for `wait` and `interruptible`, and in no attribute of the author's."""


class BlockingService(Strategy):
    """A service with plain methods, for clients that block or speak asyncio. The core runs each call in a thread.

    Up to `threads` calls run at once, in threads of this service alone; further calls wait for one of them. A call that takes too long is
    told so: `wait` returns False, and what was given to `interruptible` is called. If it has not returned a second later, it is left
    alone. Its thread stays taken until it returns, and what it still delivers counts for nothing.

    A client of asyncio runs in the call's thread, and is cancelled from another one:

        def get(self, cids, deliver, *, hints=()):
            asyncio.run(self._get(cids, deliver))

        async def _get(self, cids, deliver):
            task, loop = asyncio.current_task(), asyncio.get_running_loop()
            with self.interruptible(lambda: loop.call_soon_threadsafe(task.cancel)):
                ...
    """

    leaves_machine: ClassVar[bool] = True
    threads: ClassVar[int] = 4

    def open(self) -> None:
        """Called before all calls but `check`; again if it raised or took too long. Raises UnavailableError, ConfigError.

        Where it raises, `close` is not called: release what it has.
        """
        return

    def close(self) -> None:
        """Called after the last call, if `open` has returned. The peer leaves after two seconds, whether or not this has returned.

        Calls that were left alone may still run.
        """
        return

    def check(self) -> Sequence[str]:
        """As `Service.check`."""
        return ()

    def wait(self, seconds: float) -> bool:
        """Wait so long in place of `time.sleep`, but no longer than this call is wanted. Returns whether it still is.

        Under virtual time the seconds are virtual. Knows its call in the thread that the core called, and in what asyncio runs there.
        """
        if (call := RUNNING_CALL.get()) is not None:
            return call.wait(seconds)
        time.sleep(seconds)
        return True

    def interruptible(self, interrupt: Callable[[], object]) -> AbstractContextManager[None]:
        """While this is open, `interrupt` is called once if this call is no longer wanted: in another thread, or at once if it is late.

        It makes the call end, for instance by closing its connection. What the call then raises is not told. It may still be running when
        the block ends. Where several are open, each is called, the innermost first, also where one of them raises.
        """
        call = RUNNING_CALL.get()
        return nullcontext() if call is None else call.interruptible(interrupt)


class BlockingStorage(BlockingService, ABC):
    """A storage with plain methods: the contract of `Storage`, method by method, without `async`.

    Where a `put` was left alone and succeeds after all, the core calls `drop` for it.
    """

    @abstractmethod
    def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        """As `Storage.put`. `blocks` raises when this call is no longer wanted."""

    @abstractmethod
    def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        """As `Storage.get`."""

    @abstractmethod
    def drop(self, root: Cid) -> None:
        """As `Storage.drop`."""

    @abstractmethod
    def roots(self) -> Sequence[Cid]:
        """As `Storage.roots`."""

    def hints(self) -> Sequence[str]:
        """As `Storage.hints`: called in the loop, so it must not block."""
        return ()


class BlockingAnnouncer(BlockingService, ABC):
    """An announcer with plain methods: the contract of `Announcer`, method by method, without `async`.

    `listen` takes one of its threads.
    """

    max_bytes: ClassVar[int]

    @abstractmethod
    def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        """As `Announcer.announce`: it may run in several threads at once."""

    @abstractmethod
    def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        """As `Announcer.listen`. Returns when it is no longer wanted: `while self.wait(1.0): ...` is how one looks every second."""


class Selector(Strategy, ABC):
    """Chooses which candidates to fetch."""

    @abstractmethod
    def select(self, view: View) -> Sequence[Candidate] | Selected:
        """At most `view.count` of `view.candidates`, the most wanted first.

        A selector that remembers something returns `Selected`, with its new state; it finds the last one in `view.state`. As with a gate,
        that is knowledge about peers: it is kept at once, whatever becomes of the model, and is there again after a restart.
        """


class Gate(Strategy, ABC):
    """Judges fetched updates before they are merged."""

    @abstractmethod
    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        """One verdict for each received update, in order. The core applies weight and scale."""


class Merge(Strategy, ABC):
    """Turns the own model and the accepted ones into one."""

    library: ClassVar[str] = "numpy"

    @abstractmethod
    def merge(self, local: LocalModel, received: Sequence[Received], state: State) -> Merged:
        """Every tensor of `local.current` once, same shape, float32 (int64 for integer tensors), arguments untouched.

        Buffers (`local.buffers`) belong between the models; the core holds them there, and keeps the own of what cannot be mixed.
        """


class ElementwiseMerge(Merge):
    """A merge that treats every coordinate alike: what most authors write. Integer tensors are merged by maximum."""

    CHUNK: ClassVar[int] = 1 << 16

    @abstractmethod
    def combine(self, stacked: Any, weights: Any) -> Any:
        """Combine `stacked` (float32, n x shape; row 0 is the own model) into one array of that shape.

        `weights` (float32, n) sums to 1. Coordinates that did not come are filled with the own ones.
        Called for pieces of tensors, so nothing may depend on the shape.
        """

    def weigh(self, local: LocalModel, received: Sequence[Received]) -> Sequence[float]:
        """The unnormalised weight of each received update, relative to 1 for the own model."""
        return [item.weight for item in received]

    def merge(self, local: LocalModel, received: Sequence[Received], state: State) -> Merged:
        from learnae.elementwise import combine_all

        return Merged(combine_all(self, local, received))


class Outer(Strategy, ABC):
    """A second stage behind any merge: takes the step from the last merged model to the new one.

    It is shown trained parameters alone, in `local`, `merged` and `masks`: nothing else may be stepped over.
    """

    @abstractmethod
    def step(
        self,
        local: LocalModel,
        merged: Iterator[tuple[str, Array | None]],
        masks: Mapping[str, Any],
        state: State,
    ) -> Merged:
        """`merged` yields what the merge made, once; `masks` names the coordinates that were really merged."""


class Codec(Strategy, ABC):
    """Turns floating tensors into bytes and back."""

    @abstractmethod
    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        """Bytes and meta for one float32 tensor; the same tensor, base and random stream give the same bytes."""

    @abstractmethod
    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        """The tensor again. Raises UpdateRejectedError for bytes or meta that do not fit `like`, whatever they are."""

    def check(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> None:
        """Raises UpdateRejectedError where `decode` would; override it where that is cheaper than decoding."""
        self.decode(encoded, like, base)

    def finite(self, encoded: Encoded) -> bool:
        """Whether every value that came is surely finite, told without decoding; asked after `check`."""
        return False
