"""The page as a browser shows it: drawn, live, harmless, in both colours and on a narrow screen."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager

import pytest
import trio

from learnae.cli.dashboard import web
from learnae.cli.dashboard.watching import Watch
from learnae.node.contributions import Contribution
from tests.support.browser import needed_program, opened

pytestmark = [pytest.mark.slow]
TAGS = '<img src="x" onerror="alert(1)"><script>alert(2)</script>'


@contextmanager
def served(*homes):
    """Served in a thread of its own."""
    needed_program()
    watch, shown, listener = Watch.of([str(home.path) for home in homes]), web.Shown(), web.listening("127.0.0.1", 0)
    shown.update(watch.look())
    address, ended = web.address_of(listener, None), []

    async def serve():
        event = trio.Event()
        ended.append((trio.lowlevel.current_trio_token(), event))
        await web.serve_pages(web.application(shown, web.Guard(None)), listener, watch.look, shown, event)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        yield address
    finally:
        [(running, event)] = ended
        running.run_sync_soon(event.set)
        thread.join(30)
        assert not thread.is_alive()


def swarm(lived):
    """Two peers that merged each other and measured, one of which refused something."""
    one, other = lived("one"), lived("other")
    for round_ in range(42, 52):
        refused = one.verdict(other.own, round=round_, merged=False, stage="clip", reason=f"too-far: {TAGS}")
        one.happened(refused, round=round_, age=20 * round_, given={other.own: Contribution(merged=3)}, metrics={"accuracy": round_ / 60})
        other.happened(round=round_, age=20 * round_, given={one.own: Contribution(merged=1)}, metrics={"accuracy": round_ / 70})
    return one, other


def drawn(page):
    page.wait_for_selector("body[data-drawn]")
    page.wait_for_selector("#measured .scatterlayer .trace")


def test_it_draws_the_swarm_and_loads_nothing_from_elsewhere(lived):
    with served(*swarm(lived)) as address, opened(address) as (page, troubles):
        drawn(page)
        assert page.locator(".card").count() == 2
        assert page.locator("#graphs .annotation-arrow-g").count() == 2
        assert page.locator("#measured .scatterlayer .trace").count() == 2
        assert page.locator("#traffic .scatterlayer .trace").count() == 4
        page.select_option(".axis", "steps")
        page.locator("#measured", has_text="optimizer steps").wait_for()
        assert "too-far" in page.locator("#reasons").inner_text()
        assert "2 homes" in page.locator("#summary").inner_text()
        assert troubles == []


def test_texts_that_others_wrote_are_shown_and_not_run(lived):
    one, other = swarm(lived)
    one.configured(swarm={"name": TAGS})
    one.happened(round=60, outcome=TAGS, metrics={TAGS[:60]: 1.0})
    with served(one, other) as address, opened(address) as (page, troubles):
        drawn(page)
        assert TAGS in page.locator("#refusals").inner_text()
        assert TAGS in page.locator("#homes").inner_text()
        assert page.locator("img, iframe, main script").count() == 0
        assert troubles == []


def test_a_round_that_is_made_meanwhile_is_shown(lived):
    one, other = swarm(lived)
    with served(one, other) as address, opened(address) as (page, troubles):
        drawn(page)
        one.happened(round=777, age=99_999, metrics={"accuracy": 0.99})
        page.locator("#homes", has_text="777").wait_for()
        assert troubles == []


def test_in_the_dark_and_on_a_narrow_screen_nothing_is_wider_than_it(lived):
    with served(*swarm(lived)) as address, opened(address, width=380, scheme="dark") as (page, _):
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 28)"


def test_where_there_is_no_browser_the_reason_begins_with_needs(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(pytest.skip.Exception, match=r"^needs chromium: apt-get install"):
        needed_program()
