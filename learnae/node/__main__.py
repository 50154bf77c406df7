"""The node's process: `python -m learnae.node`, started by a trainer and never by hand."""

from __future__ import annotations

import faulthandler
import secrets
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import trio

from learnae.config.folders import meeting_place
from learnae.config.load import disabled, load_document
from learnae.config.rules import swarm_of
from learnae.config.saved_config import keep
from learnae.errors import ConfigError, LearnaeError, PluginError
from learnae.identity.homes import Home
from learnae.identity.keys import Identity
from learnae.link.messages import Start, TrainerGoneError
from learnae.link.node_end import NodeLink, open_link
from learnae.logs import make_logger, strays_logged
from learnae.node.build_serving import AnyNode, build_any
from learnae.node.history import History
from learnae.node.runtime import PluginCalls, Runtime, SharedResources, in_worker_threads, keep_memory
from learnae.plugins.manager import PluginManager
from learnae.plugins.observers import observing

EXIT_CODES: dict[type[LearnaeError], int] = {ConfigError: 2, PluginError: 3}


async def run() -> int:
    """Returns the exit code: 2 if the user must mend a file, 3 if a plugin failed, 0 after a clean leave."""
    try:
        start, link = await open_link(sys.argv[1:])
    except TrainerGoneError:
        return 0
    except ConfigError as error:
        make_logger().error("node.refused", error=str(error))
        return EXIT_CODES[ConfigError]
    try:
        with ExitStack() as observers:
            node = _build(start, link, observers)
            trio.lowlevel.add_instrument(node.strategies.calls.steps())
            await _run(node, start.beat_seconds)
    except LearnaeError as error:
        link.fail(error)
        return EXIT_CODES.get(type(error), 1)
    except Exception as error:  # a bug of ours; the trainer shows its traceback, wherever its stderr goes
        link.fail(error)
        return 1
    finally:
        with trio.CancelScope(shield=True):
            await link.aclose()
    return 0


async def _run(node: AnyNode, beat_seconds: float) -> None:
    """Raises outside of the nursery, so that an error does not come in an exception group."""
    failure = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signals, node)
        nursery.start_soon(node.strategies.calls.beat, beat_seconds)
        try:
            await node.run()
        except LearnaeError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _build(start: Start, link: NodeLink, observers: ExitStack) -> AnyNode:
    log = make_logger(**start.log)
    manager = PluginManager.discover(disable=disabled(start.config, start.overrides), log=log, told=True)
    folder = Path(start.folder)
    config = load_document(start.config, folder=folder, overrides=start.overrides, options_of=manager.options_of(folder))
    home = Home.inherit(Path(start.home), start.home_fd)
    with suppress(OSError):  # a full disk keeps nobody from training
        keep(config, home.path)
        home.make_room_for_plugins()
    identity = Identity.load_or_create(home.key_path)
    log = log.bind(swarm=config.swarm.name, own=identity.peer[:8])
    observers.enter_context(strays_logged(log))
    observers.enter_context(observing(config, manager, identity.peer))
    runtime = Runtime(
        home=home.path,
        meeting=meeting_place(swarm_of(config.swarm)),
        clock=time.monotonic,
        seed=config.peer.seed if config.peer.seed is not None else secrets.randbits(64),
        in_thread=in_worker_threads(),
        threads=in_worker_threads,
        in_watcher_thread=in_worker_threads(2, abandon=True),
        share=SharedResources(),
        log=log,
        calls=PluginCalls(link.calls, start.quarantined, interruptible=False),
    )
    return build_any(config, manager, identity, History.open(home.history_path), link, runtime)


async def _stop_on_signals(node: AnyNode) -> None:
    """SIGTERM makes the node leave. SIGINT is for the trainer, which shares the terminal, and then ends the link."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for number in received:
            if number == signal.SIGTERM:
                node.stop()


def main() -> int:
    """Returns the exit code."""
    keep_memory()
    faulthandler.register(signal.SIGUSR1)  # the trainer's side asks for the stacks of a node that hangs before it ends it
    return trio.run(run)


if __name__ == "__main__":
    sys.exit(main())
