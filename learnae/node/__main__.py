"""The node's process: `python -m learnae.node`, started by a trainer and never by hand."""

from __future__ import annotations

import secrets
import signal
import sys
import time
from pathlib import Path

import trio

from learnae.config.folders import folder_name, meeting_folder
from learnae.config.load import disabled, load_document
from learnae.errors import ConfigError, LearnaeError, PluginError
from learnae.identity.homes import Home
from learnae.identity.keys import Identity
from learnae.link.contract import TrainerGone
from learnae.link.messages import Start
from learnae.link.node_end import NodeLink, open_link
from learnae.logs import make_logger
from learnae.node.build import build
from learnae.node.history import History
from learnae.node.node import Node
from learnae.node.surroundings import Shared, Surroundings, in_worker_threads
from learnae.plugins.manager import PluginManager

EXIT_CODES: dict[type[LearnaeError], int] = {ConfigError: 2, PluginError: 3}


async def run() -> int:
    """The exit code: 2 for the user's file, 3 for a plugin, 0 for a clean leave."""
    try:
        start, link = await open_link(sys.argv[1:])
    except TrainerGone:
        return 0
    except ConfigError as error:
        make_logger().error("node.refused", error=str(error))
        return EXIT_CODES[ConfigError]
    try:
        await _run(_build(start, link))
    except LearnaeError as error:
        link.fail(error)
        return EXIT_CODES.get(type(error), 1)
    finally:
        with trio.CancelScope(shield=True):
            await link.aclose()
    return 0


async def _run(node: Node) -> None:
    """Raises outside of the nursery, so that an error comes as it is and not in a group."""
    failure = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signals, node)
        try:
            await node.run()
        except LearnaeError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _build(start: Start, link: NodeLink) -> Node:
    log = make_logger(**start.log)
    manager = PluginManager.discover(disable=disabled(start.config, start.overrides), log=log)
    folder = Path(start.folder)
    config = load_document(start.config, folder=folder, overrides=start.overrides, options_of=manager.options_of(folder))
    home = Home.inherit(Path(start.home), start.home_fd)
    identity = Identity.load_or_create(home.key_path)
    log = log.bind(swarm=config.swarm.name, peer=identity.peer[:8])
    around = Surroundings(
        home=home.path,
        meeting=meeting_folder() / folder_name(config.swarm.name),
        clock=time.monotonic,
        seed=config.peer.seed if config.peer.seed is not None else secrets.randbits(64),
        in_thread=in_worker_threads(),
        in_watcher_thread=in_worker_threads(2, abandon=True),
        share=Shared(),
        log=log,
    )
    return build(config, manager, identity, History.open(home.history_path), link, around)


async def _stop_on_signals(node: Node) -> None:
    """SIGTERM leaves; SIGINT is for the trainer, which shares the terminal and ends the link."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for number in received:
            if number == signal.SIGTERM:
                node.stop()


if __name__ == "__main__":
    sys.exit(trio.run(run))
