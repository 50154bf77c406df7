"""The hooks of plugins.

A hook that registers strategies returns a mapping from names to classes. `"module:Class"` may stand for a class: then `learnae plugins`
imports the module only to show its options, and a peer imports only what it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import pluggy

from learnae.blocking_services import BlockingAnnouncer, BlockingStorage
from learnae.observations import RoundReport, UpdateVerdict
from learnae.records import PeerId
from learnae.strategies import Announcer, Codec, Gate, Merge, Outer, Selector, Storage

PROJECT = "learnae"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@attrs.frozen(kw_only=True)
class CommandEntry:
    """A command of `learnae` that a plugin brings.

    `place` is "module:name" of a click command or a click group. The module is imported when somebody types the command, not before.
    `short_help` is one line for `learnae --help` and `learnae plugins`.
    """

    place: str
    short_help: str


@attrs.frozen(kw_only=True)
class DemoSetup:
    """What a plugin has started for `learnae demo`.

    `storage` and `announcer` are keys for the file of each peer. They stand beside `use`, if the demo runs on the storage or the announcer
    of this plugin. Their values are of the types that JSON has. `half_way` is called once, in a thread, when the demo is half over. It
    harms what was started, and returns one line that says what it did.

    `for_each` gives single peers further keys. It gets the public keys of all peers, and the place in them of the peer that is killed
    half-way. It returns one DemoSetup for each, of which only `storage` and `announcer` count.
    """

    storage: Mapping[str, Any] = attrs.field(factory=dict)
    announcer: Mapping[str, Any] = attrs.field(factory=dict)
    half_way: Callable[[], str] | None = None
    for_each: Callable[[Sequence[PeerId], int], Sequence[DemoSetup]] | None = None


@hookspec
def learnae_register_storage() -> Mapping[str, type[Storage | BlockingStorage] | str]:
    """Offer storages by name."""
    raise NotImplementedError


@hookspec
def learnae_register_announcer() -> Mapping[str, type[Announcer | BlockingAnnouncer] | str]:
    """Offer announcers by name."""
    raise NotImplementedError


@hookspec
def learnae_register_selector() -> Mapping[str, type[Selector] | str]:
    """Offer selectors by name."""
    raise NotImplementedError


@hookspec
def learnae_register_gate() -> Mapping[str, type[Gate] | str]:
    """Offer gates by name."""
    raise NotImplementedError


@hookspec
def learnae_register_merge() -> Mapping[str, type[Merge] | str]:
    """Offer merges by name."""
    raise NotImplementedError


@hookspec
def learnae_register_outer() -> Mapping[str, type[Outer] | str]:
    """Offer outer optimisers by name."""
    raise NotImplementedError


@hookspec
def learnae_register_codec() -> Mapping[str, type[Codec] | str]:
    """Offer codecs by name."""
    raise NotImplementedError


@hookspec
def learnae_register_commands() -> Mapping[str, CommandEntry]:
    """Offer commands by name: `learnae NAME ...` runs the click command that an entry names.

    A name has small letters, digits and "-", and begins with a letter. A name of Learnae's own commands cannot be taken. If two plugins
    offer the same name, neither command is run.
    Errors end a command with the exit codes of our own commands: ConfigError with 2, PluginError with 3, UnavailableError with 4. Any
    other exception is a mistake of the plugin: exit code 3, with a traceback. For another exit code call `click.Context.exit` or
    `sys.exit`.
    """
    raise NotImplementedError


@hookspec
def learnae_register_demo() -> Mapping[str, str]:
    """Say what `learnae demo --storage NAME --announcer NAME` has to start first.

    The mapping goes from the name of a storage or an announcer of this plugin to "module:function". The function takes the path of a
    folder, and makes that folder if it needs one. It returns a context manager that gives a DemoSetup. The demo enters it before the peers
    start, and leaves it when they have ended. It raises ConfigError if something is missing on the machine. All that it starts must listen
    on loopback only. A function that serves both a storage and an announcer is entered once. A strategy that needs nothing started, and
    no keys, needs no demo.
    """
    raise NotImplementedError


@hookspec
def learnae_round_finished(report: RoundReport) -> None:
    """Called after each round, in a thread. The node waits for it five seconds at most."""


@hookspec
def learnae_update_judged(verdict: UpdateVerdict) -> None:
    """Called after each round for each update that the round tried, in a thread. The node waits for it five seconds at most."""


@hookspec
def learnae_peer_changed(peer: PeerId, state: str) -> None:
    """Called when another peer comes, falls silent, comes back or goes, in a thread. The node waits for it five seconds at most.

    `peer` is the public key of that peer. `state` is "new" when a first live message of it came, "silent" when none came for `fresh_rounds`
    rounds, "back" when one came after that, and "left" when it has said that it leaves, or when `learnae deny` shut it out.
    """
