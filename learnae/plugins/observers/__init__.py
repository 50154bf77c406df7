"""Which observers a peer's file switches on. Each is a plugin like anybody's, and costs nothing, not even an import, while it is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from learnae.config.tables import Config
from learnae.errors import ConfigError, Problem
from learnae.plugins.hooks import Plugin
from learnae.records import PeerId

if TYPE_CHECKING:
    from learnae.plugins.manager import PluginManager


@contextmanager
def observing(config: Config, manager: PluginManager, peer: PeerId) -> Iterator[None]:
    """Registers what `[metrics]` names, and ends it at the end.

    Raises ConfigError, with the key, where its package is missing, its address is taken or its folder cannot be written to.
    """
    with ExitStack() as stack:
        if (address := config.metrics.prometheus) is not None:
            serve = find_observer("prometheus", "serving")
            _register(manager, "prometheus", stack.enter_context(serve(address, config.swarm.name, manager.log)))
        if (folder := config.metrics.tensorboard) is not None:
            write = find_observer("tensorboard", "writing")
            _register(manager, "tensorboard", stack.enter_context(write(folder / peer[:8], manager.log)))
        yield


def find_observer(name: str, function: str) -> Callable[..., AbstractContextManager[object]]:
    """What enters it. Raises ConfigError where its package is missing."""
    try:
        found: Callable[..., AbstractContextManager[object]] = getattr(import_module(f"learnae.plugins.observers.{name}"), function)
    except ImportError as error:
        missing = f"needs a package that is not installed: {error.name}"
        raise ConfigError(Problem(f"metrics.{name}", missing, f'pip install "learnae[{name}]"')) from error
    return found


def _register(manager: PluginManager, name: str, observer: Any) -> None:
    manager.register(observer, Plugin(f"metrics.{name}", "learnae"))
