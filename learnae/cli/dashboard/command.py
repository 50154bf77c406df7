"""`learnae dashboard`: a page about the peers of this machine, for a browser."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Sequence

import click
import trio

from learnae.errors import ConfigError, Problem
from learnae.outlets import print_message

PORT = 9470
TOKEN_BYTES = 24


@click.command()
@click.argument("homes", metavar="[HOME]...", nargs=-1)
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Where the page is; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="An address of this machine. One that others reach asks for a token.")
@click.option(
    "--token", "with_token", is_flag=True, help="Ask for a token also on 127.0.0.1, where other users of this machine could look."
)
def dashboard(homes: Sequence[str], port: int, host: str, with_token: bool) -> None:
    """Show the peers in each HOME as a page for a browser, until Ctrl-C.

    A HOME is as for `learnae status`; a folder stands for all homes in it. Without HOME it is learnae.toml in this folder, or else the
    homes under the state folder. The page shows who merged whom, what was measured, bytes, refused updates and splits, while peers run
    and after they have ended. The command only reads. It loads nothing from elsewhere.
    """
    from learnae.cli.dashboard.watching import Watch

    try:
        from learnae.cli.dashboard import web
    except ImportError as error:
        missing = f"needs a package that is not installed: {error.name}"
        raise ConfigError(Problem("learnae dashboard", missing, 'pip install "learnae[dashboard]"')) from error

    watch = Watch.of(homes)
    token = secrets.token_urlsafe(TOKEN_BYTES) if with_token or host not in web.LOOPBACK else None
    shown = web.Shown()
    app = web.application(shown, web.Guard(token))
    listener = web.listening("127.0.0.1" if host == "localhost" else host, port)
    shown.update(watch.look())
    print_message(f"The page is at {web.address_of(listener, token)}", "Ctrl-C ends it.")

    async def until_interrupted() -> None:
        ended = trio.Event()
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(web.serve_pages, app, listener, watch.look, shown, ended)
                async for _ in signals:
                    break
                ended.set()

    trio.run(until_interrupted)
