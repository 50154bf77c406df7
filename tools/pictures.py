"""Makes the pictures of the documents: the page of `learnae dashboard` on the peers of `learnae demo`, in Chromium without a window.

    python tools/pictures.py build/pictures

One while the demo runs, the others after it has ended. Takes as long as the demo does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS, END_SECONDS = 300.0, 600.0  # on a busy machine
RUNNING_SECONDS = 25.0  # from the first homes on: some have merged by then
PAGE_MS = 120_000  # on a busy machine
SETTLED_MS = 1_000
LEARNAE = [sys.executable, "-m", "learnae"]


def main(out: Path) -> None:
    program = shutil.which("chromium")
    if program is None:
        sys.exit("pictures: needs chromium: apt-get install chromium, or make setup as root")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="learnae-pictures-") as place:
        demo = subprocess.Popen(
            [*LEARNAE, "demo", "--keep", "--out", place], env={**os.environ, "TMPDIR": place}, stdout=subprocess.PIPE, text=True
        )
        try:
            with served(homes_in(Path(place), demo)) as address, browser(program) as chromium:
                wait(RUNNING_SECONDS, demo)
                draw(chromium, address, out / "dashboard-running.png")
                told = demo.communicate(timeout=END_SECONDS)[0]
                print("pictures:", told.strip().splitlines()[-2])
                draw(chromium, address, out / "dashboard.png")
                draw(chromium, address, out / "dashboard-dark.png", scheme="dark")
                draw(chromium, address, out / "dashboard-narrow.png", width=420)
        finally:
            if demo.poll() is None:
                demo.terminate()
                demo.wait(60)


def homes_in(place: Path, demo: subprocess.Popen[str]) -> Path:
    """The folder with the homes of the demo, as soon as there is one."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and demo.poll() is None:
        for history in place.glob("learnae-demo-*/peer-*/history.sqlite"):
            return history.parents[1]
        time.sleep(0.5)
    sys.exit("pictures: the demo has not begun")


def wait(seconds: float, demo: subprocess.Popen[str]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and demo.poll() is None:
        time.sleep(0.5)


@contextmanager
def served(homes: Path) -> Iterator[str]:
    """The address of a page about them."""
    process = subprocess.Popen([*LEARNAE, "dashboard", "--port", "0", str(homes)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = re.search(r"http://\S+", process.stderr.readline())
        if address is None:
            sys.exit("pictures: the dashboard has not begun")
        yield address[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def browser(program: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [], timeout=PAGE_MS)
        try:
            yield chromium
        finally:
            chromium.close()


def draw(chromium: Any, address: str, file: Path, *, width: int = 1280, scheme: str = "light") -> None:
    """The whole page, once its curves are drawn."""
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(PAGE_MS)
    page.goto(address)
    page.wait_for_selector("#measured .scatterlayer .trace")
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=file, full_page=True)
    page.close()
    print(f"pictures: {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
