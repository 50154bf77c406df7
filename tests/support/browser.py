"""Debian's Chromium without a window, driven by Playwright, for a page of ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

WAIT_MS = 90_000  # on a busy machine
OF_MAPS = "Applying inline style violates"
"""Plotly's part for maps, which we do not use, tries to add a style when the script is loaded. The policy forbids it, as it should."""


def needed_program() -> str:
    """Chromium. Skips the test where something is missing."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium: apt-get install chromium, or make setup as root")
    if find_spec("playwright") is None:
        pytest.skip("needs playwright: make setup")
    return program


@contextmanager
def opened(url: str, *, width: int = 1280, scheme: str = "light") -> Iterator[tuple[Page, list[str]]]:
    """The page as soon as it is loaded, and all that went wrong in it so far: errors, warnings, and requests that left our server."""
    program = needed_program()
    from playwright.sync_api import sync_playwright

    origin, troubles = url.partition("?")[0], list[str]()

    def heard(message: Any) -> None:
        if not message.text.startswith(OF_MAPS):
            troubles.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((origin, "data:")):
            troubles.append(f"asked for {request.url}")

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which root does not get
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=sandbox, timeout=WAIT_MS)
        try:
            colours: Any = scheme
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
            page.set_default_timeout(WAIT_MS)
            page.on("console", heard)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
            page.on("request", asked)
            page.goto(url)
            yield page, troubles
        finally:
            browser.close()
