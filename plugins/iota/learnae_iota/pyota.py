"""PyOTA on today's Python: imported when it is asked for, silently, and without what it needs no more.

It asks for a pysha3 that cannot be built any more, where safe-pysha3 serves as well, and for pkg_resources, which setuptools has given up.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, resources
from types import ModuleType
from typing import Any

from learnae import ConfigError, Problem

INSTALL = 'pip install --no-deps "pyota>=2.1,<3" pyota-pow'

_one_at_a_time = threading.Lock()


class NeedsPyotaError(ConfigError, ImportError):
    """PyOTA is not installed, or not as it must be."""

    def __init__(self, cause: ImportError) -> None:
        super().__init__(Problem("iota", f"needs PyOTA, which cannot be imported: {cause}", INSTALL))


def load_pyota() -> Any:
    """The module `iota`. Raises NeedsPyotaError."""
    try:
        with _prepared():
            return importlib.import_module("iota")
    except ImportError as error:
        raise NeedsPyotaError(error) from error


def load_pow() -> Any | None:
    """The module that works out proofs of work in C, if it is installed and made for this machine. Raises NeedsPyotaError."""
    load_pyota()
    try:
        with _prepared():
            return importlib.import_module("pow.ccurl_interface")
    except (ImportError, OSError):
        return None


@contextmanager
def _prepared() -> Iterator[None]:
    """For the time of an import. pyota-pow makes the program's root logger write all it hears to stderr: that is undone."""
    root = logging.getLogger()
    with _one_at_a_time, warnings.catch_warnings(action="ignore"):
        before, handlers, level = sys.modules.get("pkg_resources"), list(root.handlers), root.level
        sys.modules["pkg_resources"] = _stand_in()
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            del sys.modules["pkg_resources"]
            if before is not None:
                sys.modules["pkg_resources"] = before


def _stand_in() -> ModuleType:
    """All of pkg_resources that the two packages use."""
    module = ModuleType("pkg_resources")
    vars(module)["require"] = lambda name: [metadata.distribution(name)]
    vars(module)["resource_filename"] = lambda package, name: str(resources.files(package) / name)
    return module
