"""Who must act.

    LearnaeError
      ConfigError           fix your file          exit 2
      PluginError           fix that plugin        exit 3
        EntryError          or your own function   exit 3
      UnavailableError      wait: the network      retried, the round goes on
      UpdateRejectedError   distrust that peer     counted, the round goes on

Anything else that reaches the user is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from learnae.records import Cid


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
    """The user's file, argument or folder cannot be used as it is; names all problems at once."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class NeedsTorchError(ConfigError, ImportError):
    """Something that trains was asked for where PyTorch is not installed."""

    def __init__(self, what: str) -> None:
        super().__init__(Problem(what, "needs PyTorch, which is not installed", INSTALL_TORCH))


class PluginError(LearnaeError):
    """A plugin broke its contract or raised; the original exception, if any, is the `__cause__`."""

    def __init__(self, plugin: str, action: str, cause: str) -> None:
        self.plugin, self.action, self.cause = plugin, action, cause
        super().__init__(f"plugin {plugin!r} failed while {action}: {cause}")


class EntryError(PluginError):
    """The user's own training code raised: what `[train] entry` names, or what it brought. `lines` tell where, in the user's files."""

    def __init__(self, function: str, action: str, cause: str, lines: str) -> None:
        super().__init__(function, action, cause)
        self.lines = lines
        self.args = (f"your {function} failed while {action}: {cause}\n{lines}".rstrip(),)


class UnavailableError(LearnaeError):
    """The network, a daemon or a folder cannot deliver now; `missing` names the blocks that did not come."""

    def __init__(self, message: str, missing: Collection[Cid] = ()) -> None:
        self.missing = tuple(missing)
        super().__init__(message)


class UpdateRejectedError(LearnaeError):
    """A peer sent something that it should not have sent; `reason` is a short stable slug for counting."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


_RENAMED = {"NeedsTorch": "NeedsTorchError", "Unavailable": "UnavailableError", "UpdateRejected": "UpdateRejectedError"}


def __getattr__(name: str) -> Any:
    from learnae.deprecation import renamed_attribute

    return renamed_attribute(__name__, name, _RENAMED, gone_in="0.2")
