"""The page of `learnae dashboard`: who is answered what, and the command that serves it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.cookies import SimpleCookie

import attrs
import pytest
import trio

from learnae.cli.dashboard import web
from learnae.cli.dashboard.overview import overview_of
from learnae.errors import ConfigError


@attrs.frozen
class Said:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(app, path="/", *, host="127.0.0.1:9470", method="GET", query="", **headers):
    """What the application answers, asked as a server asks it."""
    sent = []
    given = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 9470),
    }

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    trio.run(app, scope, receive, send)
    first, *rest = sent
    found = {name.decode(): value.decode() for name, value in first["headers"]}
    return Said(first["status"], found, b"".join(one.get("body", b"") for one in rest))


@pytest.fixture
def app_of(lived):
    shown = web.Shown()
    shown.update(overview_of([lived().path]))

    def make(token=None):
        return web.application(shown, web.Guard(token))

    return make


def test_the_page_and_all_that_it_loads_come_from_here(app_of):
    app = app_of()
    page = ask(app).body.decode()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {"plotly.js", "page.js", "page.css"} <= set(loaded) and not any("//" in one for one in loaded)
    assert all(ask(app, f"/{one}").status == 200 for one in loaded if not one.startswith("data:"))


@pytest.mark.parametrize("path", ["/", "/state.json", "/plotly.js", "/page.js", "/page.css"])
def test_every_answer_forbids_whatever_is_not_ours(app_of, path):
    headers = ask(app_of(), path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';") and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_what_the_page_is_told_is_sent_once_while_it_is_the_same(app_of):
    app = app_of()
    first = ask(app, "/state.json")
    assert json.loads(first.body)["homes"][0]["rounds"] == 41
    again = ask(app, "/state.json", if_none_match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("host", ["127.0.0.1:9470", "localhost:9470", "[::1]:9470", "127.0.0.1"])
def test_on_this_machine_its_own_names_are_answered(app_of, host):
    assert ask(app_of(), host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example:9470", "evil.example", "127.0.0.1.evil.example", "", "[evil]:1"])
def test_a_page_from_elsewhere_whose_name_was_made_to_lead_here_is_turned_away(app_of, host):
    said = ask(app_of(), "/state.json", host=host)
    assert said.status == 421 and b"digits" not in said.body


def test_nothing_can_be_changed_through_the_page(app_of):
    assert {ask(app_of(), path, method=method).status for path in ("/", "/state.json") for method in ("POST", "PUT", "DELETE")} == {405}


def test_with_a_token_nobody_is_told_anything_without_it(app_of):
    app = app_of("s3cret")
    for said in (ask(app, "/state.json"), ask(app, query="token=guess"), ask(app, "/plotly.js", cookie=f"{web.COOKIE}=guess")):
        assert said.status == 403 and len(said.body) < 200


def test_the_token_is_taken_once_from_the_address_and_then_from_a_cookie_that_no_script_sees(app_of):
    app = app_of("s3cret")
    first = ask(app, query="token=s3cret", host="192.0.2.7:9470")
    assert (first.status, first.headers["location"]) == (303, "/")
    cookie = SimpleCookie(first.headers["set-cookie"])[web.COOKIE]
    assert cookie["httponly"] and cookie["samesite"] == "strict"
    assert ask(app, "/state.json", host="192.0.2.7:9470", cookie=f"{web.COOKIE}={cookie.value}").status == 200


def test_a_token_that_is_no_ascii_is_only_a_wrong_one(app_of):
    assert ask(app_of("s3cret"), query="token=%C3%BC").status == 403


def test_a_port_that_is_taken_is_told_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigError, match=r"cannot listen.*--port"):
        web.listening("127.0.0.1", other.getsockname()[1])


def test_where_its_packages_are_missing_the_command_names_the_extra(lived, learnae, monkeypatch):
    monkeypatch.setitem(sys.modules, "learnae.cli.dashboard.web", None)
    monkeypatch.delattr("learnae.cli.dashboard.web", raising=False)
    answer = learnae("dashboard", lived().path)
    assert answer.code == 2 and 'pip install "learnae[dashboard]"' in answer.err


def test_the_command_needs_a_peer_that_has_run(learnae, tmp_path):
    answer = learnae("dashboard", tmp_path)
    assert answer.code == 2 and "no peer has run" in answer.err


@contextmanager
def served(*arguments):
    """The command as a process of its own, and the address that it printed."""
    line = [sys.executable, "-m", "learnae", "dashboard", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed = process.stderr.readline()
        yield process, re.search(r"http://\S+", printed)[0]
    finally:
        process.kill()
        process.communicate()


def test_it_serves_until_ctrl_c(lived):
    home = lived()
    with served(home.path) as (process, address):
        with urllib.request.urlopen(f"{address}state.json", timeout=60) as answer:
            assert json.load(answer)["homes"][0]["peer"] == home.own
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "") and "Traceback" not in err


def test_beyond_this_machine_it_asks_for_a_token(lived):
    with served(lived().path, "--host", "0.0.0.0") as (_, address):
        port, token = re.search(r":(\d+)/\?token=(\S{32})$", address).groups()
        plain = f"http://127.0.0.1:{port}/state.json"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(plain, timeout=60)
        asked = urllib.request.Request(plain, headers={"Cookie": f"{web.COOKIE}={token}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.status == 200


def test_a_token_can_be_asked_for_on_this_machine_too(lived):
    with served(lived().path, "--token") as (_, address):
        assert "?token=" in address
