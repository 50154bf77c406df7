"""The errors, split by who must act.

    LearnaeError
      ConfigError           fix your file          exit 2
      PluginError           fix that plugin        exit 3
        EntryError          or your own function   exit 3
      UnavailableError      wait: the network      retried, the round goes on
      UpdateRejectedError   distrust that peer     counted, the round goes on

Anything else that reaches the user is a bug of ours.

Old public names still work for a while, and warn. Python's own filters show one warning for each name and line.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from learnae.records import Cid


T = TypeVar("T")
INSTALL_TORCH = 'pip install "learnae[torch]"'


class LearnaeError(Exception):
    """The root of all errors that Learnae raises on purpose."""


@attrs.frozen
class Problem:
    """One thing to mend in a configuration: where it stands, what is wrong, what to write instead."""

    key: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{self.key}: {self.message}{hint}"


class ConfigError(LearnaeError):
    """The user's file, argument or folder cannot be used as it is. `problems` holds all that is wrong, not only the first."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class NeedsTorchError(ConfigError, ImportError):
    """PyTorch is needed, and not installed. `what` names what needs it."""

    def __init__(self, what: str) -> None:
        super().__init__(Problem(what, "needs PyTorch, which is not installed", INSTALL_TORCH))


class PluginError(LearnaeError):
    """A plugin broke its contract, or raised an exception that its contract does not allow. That exception is the `__cause__`."""

    def __init__(self, plugin: str, action: str, cause: str) -> None:
        self.plugin, self.action, self.cause = plugin, action, cause
        super().__init__(f"plugin {plugin!r} failed while {action}: {cause}")


class EntryError(PluginError):
    """The user's own training code raised: the function that `[train] entry` names, or the loop that it returned.

    `lines` names the places in the user's files.
    """

    def __init__(self, function: str, action: str, cause: str, lines: str) -> None:
        super().__init__(function, action, cause)
        self.lines = lines
        self.args = (f"your {function} failed while {action}: {cause}\n{lines}".rstrip(),)


class UnavailableError(LearnaeError):
    """The network, a daemon or a folder cannot deliver now. `missing` names the blocks that did not come."""

    def __init__(self, message: str, missing: Collection[Cid] = ()) -> None:
        self.missing = tuple(missing)
        super().__init__(message)


class UpdateRejectedError(LearnaeError):
    """A peer sent something wrong. `reason` is a short text that stays the same, so that it can be counted. `detail` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class LearnaeDeprecationWarning(FutureWarning):
    """Your code uses an old public name. The message says the new name, and which version of Learnae removes the old one.

    This class is a FutureWarning, because Python shows a DeprecationWarning only for code in the main script. The code of a plugin or of
    `[train] entry` lies in other modules. Its author would see no warning before the code breaks.
    """


def warn_renamed(old: str, new: str, *, gone_in: str, stacklevel: int = 2) -> None:
    """Warn that `old` is called `new` now, and that version `gone_in` removes `old`.

    `stacklevel` counts as in `warnings.warn`: with 2 the warning points at the caller of the function that calls this one.
    """
    message = f"{old} is called {new} now; the old name goes in Learnae {gone_in}"
    warnings.warn(message, LearnaeDeprecationWarning, stacklevel=stacklevel + 1)


def renamed_attribute(module: str, name: str, renamed: Mapping[str, str], *, gone_in: str) -> Any:
    """For the `__getattr__` of a module: the object that has a new name now. Raises AttributeError for any other name."""
    if name not in renamed:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    public = "learnae" if module == __name__ else module  # where plugins shall take it from
    warn_renamed(f"{module}.{name}", f"{public}.{renamed[name]}", gone_in=gone_in, stacklevel=3)
    return getattr(sys.modules[module], renamed[name])


def renamed_argument(call: str, old: str, new: str, value: T, *, clash: bool, gone_in: str) -> T:
    """For a function with a renamed keyword argument: return the value that came under the old name, and warn.

    Raises TypeError if the new keyword was given as well (`clash`).
    """
    if clash:
        raise TypeError(f"{call} got both {new} and {old}, its old name: leave {old} out")
    warn_renamed(f"{call}({old}=...)", f"{new}=...", gone_in=gone_in, stacklevel=3)
    return value


def renamed_fields(record: type, renamed: Mapping[str, str], *, gone_in: str) -> None:
    """For a public record: its fields can be read, and given by keyword, under their old names."""
    make: Any = record.__init__  # type: ignore[misc] # whatever the record, it is called as that record is

    @functools.wraps(make)
    def make_with_old_names(self: Any, *arguments: Any, **named: Any) -> None:
        for old in renamed.keys() & named.keys():
            new = renamed[old]
            named[new] = renamed_argument(record.__name__, old, new, named.pop(old), clash=new in named, gone_in=gone_in)
        make(self, *arguments, **named)

    record.__init__ = make_with_old_names  # type: ignore[misc]
    for old, new in renamed.items():
        setattr(record, old, property(functools.partial(_read_renamed, record.__name__, old, new, gone_in)))


def _read_renamed(record: str, old: str, new: str, gone_in: str, value: Any) -> Any:
    warn_renamed(f"{record}.{old}", f"{record}.{new}", gone_in=gone_in)
    return getattr(value, new)


_RENAMED = {"NeedsTorch": "NeedsTorchError", "Unavailable": "UnavailableError", "UpdateRejected": "UpdateRejectedError"}

if not TYPE_CHECKING:  # a type checker would take it as leave for any name, also a misspelt one

    def __getattr__(name: str) -> Any:
        return renamed_attribute(__name__, name, _RENAMED, gone_in="0.2")


def signs_nothing(message: bytes) -> bytes:
    """What `Context.sign` is where no peer runs."""
    raise ValueError("nothing is signed here: a command that only looks at a home has no key")
