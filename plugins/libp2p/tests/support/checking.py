"""A program: says what `learnae check` would say of a peer that names these, each line as it is.

Arguments: its home, where it listens, and addresses of others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import structlog
import trio

from learnae.testing.context import make_context
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.options import GossipsubOptions


async def main(home: str, listen: str, *peers: str) -> None:
    announcer = GossipsubAnnouncer(GossipsubOptions(listen=(listen,), peers=peers), make_context(Path(home), peer="checked"))
    sys.stdout.write("\n".join(map(str, await announcer.check())))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    trio.run(main, *sys.argv[1:])
