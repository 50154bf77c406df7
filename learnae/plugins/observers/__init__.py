"""Which observers a peer's file switches on. Each is a plugin like anybody's, and costs nothing, not even an import, while it is off."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from learnae.config.tables import Config
from learnae.errors import ConfigError, Problem
from learnae.plugins.hooks import Plugin
from learnae.records import PeerId

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

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


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # seconds that a client may take

    def log_message(self, format: str, *args: object) -> None:
        """A request is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Without looking up the host's name, as HTTPServer would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no news either."""


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def serving_http(address: str, application: WSGIApplication, key: str) -> Iterator[str]:
    """Serves at "host:port" and yields the URL; port 0 takes a free one. Raises ConfigError, with the key, where it cannot."""
    host, _, port = address.rpartition(":")
    server_class = _Server6 if host.startswith("[") else _Server
    try:
        server = server_class((host.strip("[]"), int(port)), _Handler)
    except (OSError, OverflowError) as error:
        remedy = "take another port, or port 0 for any that is free; each peer of a machine needs its own"
        raise ConfigError(Problem(key, f"cannot listen at {address}: {error}", remedy)) from error
    server.set_app(application)
    thread = Thread(target=server.serve_forever, name=key, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
