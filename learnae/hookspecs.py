"""The hooks. Those that register return a mapping from name to class, or to `"module:Class"` so that listing imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pluggy

from learnae.records import PeerId, RoundReport, UpdateVerdict
from learnae.strategies import Announcer, BlockingAnnouncer, BlockingStorage, Codec, Gate, Merge, Outer, Selector, Storage

PROJECT = "learnae"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@attrs.frozen(kw_only=True)
class CommandEntry:
    """A command of `learnae`: where it is, and what `learnae --help` says of it in one line.

    `place` is "module:name" of a click command or of a click group. Its module is imported when somebody types the command, not before.
    """

    place: str
    short_help: str


@attrs.frozen(kw_only=True)
class DemoSetup:
    """What a plugin has started for `learnae demo`.

    `storage` and `announcer` are keys for each peer's file. They stand beside `use` where the demo runs on the storage or announcer of the
    plugin, and their values are such as JSON has. `half_way` is called once, in a thread, when the demo is half over, to harm what was
    started. It returns one line that says what it did.
    """

    storage: Mapping[str, Any] = attrs.field(factory=dict)
    announcer: Mapping[str, Any] = attrs.field(factory=dict)
    half_way: Callable[[], str] | None = None


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

    Names are of small letters, digits and "-". A name of Learnae's own stays Learnae's; of two plugins with one name neither is run.
    Errors end a command as they end our own: ConfigError with exit code 2, PluginError with 3, UnavailableError with 4. Any other
    error is a mistake of the plugin: exit code 3, with its traceback. `click.Context.exit` and `sys.exit` end it with another code.
    """
    raise NotImplementedError


@hookspec
def learnae_register_demo() -> Mapping[str, str]:
    """Say what `learnae demo --storage NAME --announcer NAME` starts first, by the names of this plugin's storages and announcers.

    Each stands for "module:function". The function takes a folder, which it makes when it needs one, and returns a context manager that
    gives a DemoSetup. It is entered before the peers start, and left when they have ended. It raises ConfigError for what is missing on
    the machine, and lets everything listen on loopback alone. A name that is a storage and an announcer is entered once. What needs
    nothing to be started, and no keys, needs no demo.
    """
    raise NotImplementedError


@hookspec
def learnae_round_finished(report: RoundReport) -> None:
    """Called after each round, in a thread with a time limit."""


@hookspec
def learnae_update_judged(verdict: UpdateVerdict) -> None:
    """Called for each update that was tried in a round, in a thread with a time limit."""


@hookspec
def learnae_peer_changed(peer: PeerId, state: str) -> None:
    """Called when a peer is heard live for the first time ("new"), goes silent ("silent"), is back ("back") or leaves ("left")."""
