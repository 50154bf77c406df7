"""The page of `learnae dashboard`: what is answered to whom. Starlette reads requests, hypercorn serves them under trio.

All that the page loads comes from here: its own three files, and plotly's script as the installed package has it. On a loopback address
nobody is asked who he is, but a request must name this machine: a page from elsewhere whose name was made to lead here is turned away. With
a token, whoever has no cookie must bring the token once.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from learnae.cli.dashboard.figures import as_data
from learnae.cli.dashboard.overview import Overview
from learnae.cli.dashboard.watching import rest_after
from learnae.errors import ConfigError, Problem
from learnae.texts import as_json

PAGE = Path(__file__).parent / "page"
FILES: Mapping[str, str] = {"page.css": "text/css", "page.js": "text/javascript"}
COOKIE = "learnae-dashboard"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
READ_SECONDS = 10
MOST_CONNECTIONS = 64

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Answering = Callable[[Request], Awaitable[Response]]


@attrs.define
class Shown:
    """What was last seen, as the page gets it. All who look are told the same: no request reads a home."""

    body: bytes = b""
    tag: str = ""

    def update(self, overview: Overview) -> None:
        self.body = as_json(as_data(overview)).encode()
        self.tag = f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


@attrs.frozen
class Guard:
    """Who may look. Without a token, whoever reaches this machine's own addresses; `hosts` are what a request may name it by."""

    token: str | None
    hosts: frozenset[str] = frozenset(LOOPBACK)

    def refusal(self, request: Request) -> Response | None:
        """None for a request that is answered."""
        if self.token is None:
            if _host_of(request) in self.hosts:
                return None
            return PlainTextResponse("Name this machine as the command said it: another name is not answered.\n", 421)
        if self._is_it(request.cookies.get(COOKIE)):
            return None
        if self._is_it(request.query_params.get("token")):
            answer = RedirectResponse("/", 303)  # the address that is kept and shown has no token
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return answer
        return PlainTextResponse("This page asks for a token. Open it by the whole address that `learnae dashboard` has printed.\n", 403)

    def _is_it(self, said: str | None) -> bool:
        return self.token is not None and said is not None and hmac.compare_digest(said.encode(), self.token.encode())


def _host_of(request: Request) -> str:
    host = request.headers.get("host", "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def plotly_script() -> Path:
    """As its package brings it. Raises ConfigError where it is not there."""
    found = find_spec("plotly")
    script = Path(next(iter(found.submodule_search_locations or ()), "")) / "package_data" / "plotly.min.js" if found else None
    if script is None or not script.is_file():
        raise ConfigError(Problem("learnae dashboard", "needs plotly, with the script that it brings", 'pip install "learnae[dashboard]"'))
    return script


def application(shown: Shown, guard: Guard) -> Starlette:
    """Reads what it serves. Raises ConfigError where plotly is not installed."""
    script = plotly_script().read_bytes()  # once: a file in pieces takes a thread for each of them
    files = {name: (PAGE / name).read_bytes() for name in ("index.html", *FILES)}

    async def page(request: Request) -> Response:
        return Response(files["index.html"], media_type="text/html")

    async def state(request: Request) -> Response:
        if shown.tag and request.headers.get("if-none-match") == shown.tag:
            return Response(status_code=304, headers={"ETag": shown.tag})
        return Response(shown.body, media_type="application/json", headers={"ETag": shown.tag})

    async def plotly(request: Request) -> Response:
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "private, max-age=3600"})

    def file(name: str) -> Answering:
        async def answer(request: Request) -> Response:
            return Response(files[name], media_type=FILES[name])

        return answer

    routes = {"/": page, "/state.json": state, "/plotly.js": plotly, **{f"/{name}": file(name) for name in FILES}}
    return Starlette(routes=[Route(path, _guarded(answer, guard), methods=["GET"]) for path, answer in routes.items()])


def _guarded(answer: Answering, guard: Guard) -> Answering:
    async def guarded(request: Request) -> Response:
        refusal = guard.refusal(request)
        response = refusal if refusal is not None else await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guarded


def listening(host: str, port: int) -> socket.socket:
    """Raises ConfigError where it cannot listen there."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=MOST_CONNECTIONS)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(Problem("learnae dashboard", f"cannot listen at {host}, port {port}: {error}", "name another --port")) from error


def address_of(listener: socket.socket, token: str | None) -> str:
    """What is typed into a browser."""
    host, port, *_ = listener.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{f'?token={token}' if token else ''}"


async def serve_pages(app: Starlette, listener: socket.socket, look: Callable[[], Overview], shown: Shown, ended: trio.Event) -> None:
    """Until it has `ended`. `look` blocks, and runs in a thread, never twice at once."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = config.accesslog = None
    config.include_server_header = False
    config.read_timeout = READ_SECONDS
    config.graceful_timeout = 1.0

    async def keep_looking() -> None:
        while True:
            before = trio.current_time()
            shown.update(await trio.to_thread.run_sync(look))
            await trio.sleep(rest_after(trio.current_time() - before))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_looking)
        await serve(app, config, shutdown_trigger=ended.wait)  # type: ignore[arg-type]  # its type wants the frameworks that it names
        nursery.cancel_scope.cancel()
