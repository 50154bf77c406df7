"""The command `learnae ipfs`, for whoever runs daemons by themselves."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click

from learnae import ConfigError, Problem
from learnae.lowlevel import print_message, print_result, read_swarm, write_secret
from learnae_ipfs.managed.peer import PURPOSE
from learnae_ipfs.managed.settings import swarm_key_file


@click.group()
def ipfs() -> None:
    """IPFS as a storage of Learnae."""


@ipfs.command("swarm-key", short_help="Let your own daemon into the private network of a swarm.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def swarm_key(file: Path, out: Path) -> None:
    """Write the swarm.key that belongs to the private swarm of a peer's FILE, such as to ~/.ipfs/swarm.key.

    A daemon with it, started with LIBP2P_FORCE_PNET=1, meets those that Learnae runs for the swarm's peers, and no others.
    """
    secret = read_swarm(file).secret(PURPOSE)
    if secret is None:
        raise ConfigError(Problem("swarm", "has no key, so its daemons are in no private network", "`learnae key` makes one"))
    write_secret(out, swarm_key_file(secret))
    print_result(f"{out}: whoever has this file can enter the network of the swarm's daemons, and read none of its models")


def main() -> None:
    """The command `learnae-ipfs`, the old name. It says the new one, and runs it."""
    print_message("learnae-ipfs is called `learnae ipfs` now; the old name goes in version 0.2")
    sys.argv[1:1] = ["ipfs"]
    runpy.run_module("learnae", run_name="__main__", alter_sys=True)
