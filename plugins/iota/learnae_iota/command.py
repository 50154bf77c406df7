"""The command `learnae iota`."""

from __future__ import annotations

import runpy
import signal
import sys
import time
from pathlib import Path

import click

from learnae import UnavailableError
from learnae.lowlevel import print_message, print_result
from learnae_iota.devnet import Ports, Tangle, find_hornet
from learnae_iota.devnet.tangle import DEPTH, MILESTONE_SECONDS

PORT = 14265
MOST_NODES = 20
GOSSIP, FEED = 100, 200  # above the port of the API
LOOK_SECONDS = 0.5


@click.group()
def iota() -> None:
    """Around the announcer `iota`. Results go to stdout, all else to stderr."""


@iota.command(short_help="A private tangle on this machine.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--nodes", type=click.IntRange(1, MOST_NODES), default=2, show_default=True, help="How many Hornets.")
@click.option("--port", type=click.IntRange(1024, 65000), default=PORT, show_default=True, help="Of the first API; the others follow.")
@click.option("--milestone-seconds", type=click.IntRange(1, 3600), default=MILESTONE_SECONDS, show_default=True, help="Between milestones.")
@click.option("--depth", type=click.IntRange(3, 20), default=DEPTH, show_default=True, help="Of a new tangle: 2 ** DEPTH milestones.")
def devnet(folder: Path, nodes: int, port: int, milestone_seconds: int, depth: int) -> None:
    """Run a private tangle in FOLDER until Ctrl-C, and print what to write into the file of a peer.

    The nodes listen on this machine alone, know each other, and call nobody else. The same command goes on with the same tangle.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ports = ports_from(port, nodes)
    print_message(f"starting {nodes} Hornet{'s' if nodes > 1 else ''} (the first time, keys for {2**depth} milestones are made)")
    with Tangle.running(folder, find_hornet(), ports, depth=depth, milestone_seconds=milestone_seconds) as tangle:
        print_result(*_to_paste(tangle))
        print_message(f"running, with logs in {folder}; Ctrl-C ends it")
        _watch(tangle)


def ports_from(first: int, nodes: int) -> list[Ports]:
    """Those of so many nodes: `first` and the next ones for the API, and further up for peers and for the feed."""
    return [Ports(number, number + GOSSIP, number + FEED) for number in range(first, first + nodes)]


def _to_paste(tangle: Tangle) -> tuple[str, ...]:
    urls = ", ".join(f'"{url}"' for url in tangle.urls)
    return "[[announcer]]", 'use = "iota"', f"nodes = [{urls}]"


def _watch(tangle: Tangle) -> None:
    """Say which node ends by itself. Raises UnavailableError when none is left."""
    running = list(tangle.nodes)
    while running:
        time.sleep(LOOK_SECONDS)
        for node in [node for node in running if not node.alive]:
            running.remove(node)
            lost = "; there are no milestones without it, announcing goes on" if node.issues and running else ""
            print_message(f"{node.name} has ended{lost}: {node.last_words()} ({node.log})")
    raise UnavailableError("no node is running any more")


def main() -> None:
    """The command `learnae-iota`, the old name. It says the new one, and runs it."""
    print_message("learnae-iota is called `learnae iota` now; the old name goes in version 0.2")
    sys.argv[1:1] = ["iota"]
    runpy.run_module("learnae", run_name="__main__", alter_sys=True)
