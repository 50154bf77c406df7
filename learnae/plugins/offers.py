"""Where a strategy's class comes from: the name that a plugin's hook offers, or a file beside the TOML (`use = "my_file:MyMerge"`).

Each is loaded and checked on its first use.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import sysconfig
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from typing import Any

import attrs

from learnae.blocking_services import BlockingAnnouncer, BlockingService
from learnae.config.describe import OptionKey, describe_options
from learnae.config.options import hints_of
from learnae.config.words import did_you_mean
from learnae.errors import ConfigError, PluginError, Problem
from learnae.hookspecs import DemoSetup
from learnae.plugins.calls import naming
from learnae.plugins.hooks import BASES, REGISTER, Hook, is_reference, resolve
from learnae.strategies import Announcer, Strategy

_FORM = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")

SERVICES = ("storage", "announcer")  # the kinds that may need something outside


@attrs.frozen
class StrategyOffer:
    """One name of one kind, and who offers it."""

    kind: str
    name: str
    plugin: str
    target: str | type  # "module:Class", or the class
    distribution: str | None = None
    version: str | None = None
    demo: str | None = None  # "module:function" of what `learnae demo` starts for it

    def load(self) -> type[Strategy]:
        """The class, imported on first use and checked against its kind. Raises PluginError."""
        action = f"loading the {self.kind} {self.name!r}"
        with naming(self.plugin, action):
            found = resolve(self.target) if isinstance(self.target, str) else self.target
        if flaw := _flaw_of_class(found, self.kind):
            raise PluginError(self.plugin, action, flaw)
        strategy: type[Strategy] = found
        return strategy

    def load_demo(self) -> Callable[[Path], AbstractContextManager[DemoSetup]] | None:
        """What `learnae demo` enters first, or None where there is nothing to enter. Raises PluginError."""
        if self.demo is None:
            return None
        with naming(self.plugin, f"loading the demo of {self.name!r}"):
            starts: Callable[[Path], AbstractContextManager[DemoSetup]] = resolve(self.demo)
        return starts

    def options(self) -> list[OptionKey]:
        """The keys of its TOML table. Raises PluginError."""
        return describe_options(self.load().Options, self.kind)

    @property
    def doc(self) -> str:
        """What its class says about itself. Raises PluginError."""
        return inspect.cleandoc(self.load().__dict__.get("__doc__") or "")


def _flaw_of_class(found: Any, kind: str) -> str | None:
    """What keeps an object from being a strategy of this kind, or None."""
    bases = BASES[kind]
    if not isinstance(found, type):
        return f"{found!r} is not a class"
    if not issubclass(found, bases):
        return f"{found.__qualname__} does not derive from {' or '.join(f'learnae.{base.__name__}' for base in bases)}"
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        return f"{found.__qualname__} does not define {', '.join(missing)}"
    options: Any = found.Options
    if not (isinstance(options, type) and attrs.has(options)):
        return f"{found.__qualname__}.Options is not an attrs class"
    try:
        hints_of(options)
    except PluginError as error:
        return f"{options.__qualname__} cannot be read: {error.cause}"
    if issubclass(found, Announcer | BlockingAnnouncer) and not isinstance(getattr(found, "max_bytes", None), int):
        return f"{found.__qualname__} does not define max_bytes"
    return _flaw_of_blocking(found) if issubclass(found, BlockingService) else None


CALLED_IN_THREADS = ("open", "close", "check", "put", "get", "drop", "roots", "announce", "listen")


def _flaw_of_blocking(found: type[BlockingService]) -> str | None:
    if wrong := [name for name in CALLED_IN_THREADS if inspect.iscoroutinefunction(getattr(found, name, None))]:
        other = "learnae.Announcer" if issubclass(found, BlockingAnnouncer) else "learnae.Storage"
        return f"{found.__qualname__}.{wrong[0]} is `async def`, but it is called in a thread: derive from {other} instead"
    least = 2 if issubclass(found, BlockingAnnouncer) else 1  # `listen` takes one
    threads: Any = found.threads
    if not isinstance(threads, int) or threads < least:
        return f"{found.__qualname__}.threads must be a whole number, {least} or more"
    return None


def offers_in(hook: Hook, returned: Any) -> Iterator[StrategyOffer]:
    """The offers in what a registering hook returned. Raises PluginError for all but a mapping from name to class or "module:Class"."""
    action = f"running {hook.name}"
    if not isinstance(returned, Mapping):
        raise PluginError(hook.plugin.name, action, f"it returned {returned!r} and not a mapping from name to class")
    for name, target in returned.items():
        if not isinstance(name, str) or not name.strip() or ":" in name:
            raise PluginError(hook.plugin.name, action, f"{name!r} is no name: it must be text without a colon")
        if not isinstance(target, type) and not is_reference(target):
            raise PluginError(hook.plugin.name, action, f'{name!r} stands for {target!r}, which is neither a class nor "module:Class"')
        yield StrategyOffer(REGISTER[hook.name], name, hook.plugin.name, target, hook.plugin.distribution, hook.plugin.version)


def with_demos(hook: Hook, returned: Any, offers: Iterable[StrategyOffer]) -> list[StrategyOffer]:
    """The offers of a plugin, each with the demo that its hook returned for it. Raises PluginError for a demo that belongs to none."""
    found, action = list(offers), f"running {hook.name}"
    if not isinstance(returned, Mapping):
        raise PluginError(hook.plugin.name, action, f'it returned {returned!r} and not a mapping from name to "module:function"')
    for name, place in returned.items():
        if not is_reference(place):
            raise PluginError(hook.plugin.name, action, f'{name!r} stands for {place!r}, which is not "module:function"')
        if not any(offer.name == name and offer.kind in SERVICES for offer in found):
            raise PluginError(hook.plugin.name, action, f"{name!r} is neither a storage nor an announcer of this plugin")
    return [attrs.evolve(offer, demo=returned.get(offer.name)) if offer.kind in SERVICES else offer for offer in found]


class _SourceLoader(SourceFileLoader):
    """Reads no compiled file, and writes none: with a loose umask others may write to `__pycache__`, though not to the folder itself."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        code: types.CodeType = self.source_to_code(self.get_data(path), path)
        return code


def import_by_source(folder: Path) -> None:
    """From now on, what is imported from this folder and those in it is compiled anew in each process.

    What another entry of the path names there, such as the modules of a virtual environment, is imported as ever.
    """
    top = os.path.abspath(folder)

    def finder_for(path: str) -> FileFinder:
        place = os.path.abspath(path)
        entries = [os.path.abspath(entry) for entry in sys.path]
        nearest = max((entry for entry in (top, *entries) if _is_within(place, entry)), key=len, default="")
        if nearest != top or not os.path.isdir(place):
            raise ImportError(path)
        return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_SourceLoader, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, finder_for)
    for path in [path for path in sys.path_importer_cache if _is_within(os.path.abspath(path), top)]:
        del sys.path_importer_cache[path]


def _is_within(place: str, folder: str) -> bool:
    return place == folder or place.startswith(os.path.join(folder, ""))


@attrs.frozen
class LocalFiles:
    """Imports each file once. Every folder is a package with a name of its own, so that files of one name in two folders stay apart."""

    _packages: dict[Path, str] = attrs.field(factory=dict, init=False)

    def find(self, use: str, folder: Path) -> tuple[str, Any]:
        """The file, named as users know it, and what it calls by this name. Raises ConfigError, or PluginError when its import fails."""
        form = _FORM.fullmatch(use)
        if form is None:
            raise ConfigError(Problem("use", f'is not of the form "file:Class": {use!r}'))
        folder, module, name = folder.absolute(), form[1], form[2]
        file = f"{module.replace('.', '/')}.py"
        if not os.path.isfile(folder / file) and not os.path.isfile((folder / file).with_suffix("") / "__init__.py"):
            raise ConfigError(Problem("use", f"there is no {file} in {folder}", "the file lies beside the one that names it"))
        with naming(file, "importing it"), _siblings(folder):
            imported = importlib.import_module(f"{self._package(folder)}.{module}")
        if not hasattr(imported, name):
            classes = [known for known, value in vars(imported).items() if getattr(value, "__module__", "") == imported.__name__]
            raise ConfigError(Problem("use", f"{file} has no {name}", did_you_mean(name, classes)))
        return file, getattr(imported, name)

    def _package(self, folder: Path) -> str:
        if folder not in self._packages:
            import_by_source(folder)
            package = types.ModuleType(f"learnae_local_{uuid.uuid4().hex}")
            package.__path__ = [str(folder)]
            sys.modules[package.__name__] = package
            self._packages[folder] = package.__name__
        return self._packages[folder]


@contextmanager
def _siblings(folder: Path) -> Iterator[None]:
    """Lets a file import others beside it, and forgets them afterwards: elsewhere their names may mean other files.

    They come before what is installed, but after Python's own: a `secrets.py` there is not for whatever else is imported meanwhile.
    """
    importlib.invalidate_caches()
    place = _after_pythons_own()
    if str(folder) in sys.path[: place + 1]:
        yield
        return
    before = set(sys.modules)
    sys.path.insert(place, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            if top not in before and _lies_in(folder, top):
                del sys.modules[name]


def _after_pythons_own() -> int:
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    own |= {os.path.join(folder, "lib-dynload") for folder in own}
    return max((place for place, entry in enumerate(sys.path, 1) if entry in own), default=0)


def _lies_in(folder: Path, top: str) -> bool:
    return not top.startswith("learnae_local_") and (os.path.isfile(folder / f"{top}.py") or os.path.isfile(folder / top / "__init__.py"))
