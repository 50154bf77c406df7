"""Old names of the public modules: they work on for a while, and warn.

Python's own filters keep it to one warning for each name and line: nothing is remembered here.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class LearnaeDeprecationWarning(FutureWarning):
    """A public name was used that a later version of Learnae does not have any more; it names that version, and the new name.

    It is a FutureWarning since Python shows a DeprecationWarning for the main script alone. The code of a plugin and of `[train] entry`
    runs elsewhere, and its author would hear of the change only when it breaks.
    """


def warn_renamed(old: str, new: str, *, gone_in: str, stacklevel: int = 2) -> None:
    """Tell the caller of whoever calls this that `old` is called `new` now, and has no meaning from version `gone_in` on.

    `stacklevel` is as for `warnings.warn`, seen from the caller of this function.
    """
    message = f"{old} is called {new} now; the old name goes in Learnae {gone_in}"
    warnings.warn(message, LearnaeDeprecationWarning, stacklevel=stacklevel + 1)


def renamed_attribute(module: str, name: str, renamed: Mapping[str, str], *, gone_in: str) -> Any:
    """For the `__getattr__` of a module: what an old name of it stands for. Raises AttributeError for a name that never was one."""
    if name not in renamed:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warn_renamed(f"{module}.{name}", f"{module}.{renamed[name]}", gone_in=gone_in, stacklevel=3)
    return getattr(sys.modules[module], renamed[name])


def renamed_argument(call: str, old: str, new: str, value: T, *, clash: bool, gone_in: str) -> T:
    """For a function whose keyword has another name now: the value that came under the old one.

    Raises TypeError where the new keyword was given as well (`clash`).
    """
    if clash:
        raise TypeError(f"{call} got both {new} and {old}, its old name: leave {old} out")
    warn_renamed(f"{call}({old}=...)", f"{new}=...", gone_in=gone_in, stacklevel=3)
    return value
