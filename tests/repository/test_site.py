"""The site that `make docs` builds: each page has its place in it, and it builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def listed() -> list[Path]:
    sections: dict[str, list[str]] = tomllib.loads((DOCS / "contents.toml").read_text())
    names = [entry.partition("<")[2].rstrip(">") or entry for entries in sections.values() for entry in entries]
    return [(ROOT / name[1:] if name.startswith("/") else DOCS / name).with_suffix(".md") for name in names]


def relative(pages: list[Path]) -> list[str]:
    return sorted(str(page.relative_to(ROOT)) for page in pages)


def test_the_contents_name_every_page_once() -> None:
    written = [*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *ROOT.glob("examples/*/README.md"), *ROOT.glob("plugins/*/README.md")]
    from_elsewhere = [DOCS / "index.md", *(page for page in DOCS.glob("decisions/*.md") if page.name != "README.md")]
    assert relative(listed()) == relative([page for page in {*written, ROOT / "bench" / "README.md"} if page not in from_elsewhere])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("sphinx") is None:
        pytest.skip("needs sphinx: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--nitpicky", "--fail-on-warning", "--keep-going", "--conf-dir", "docs"]
    result = subprocess.run([*command, ".", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_begins_with_the_index(site: Path) -> None:
    assert "docs/index.html" in (site / "index.html").read_text()


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>|(?:url\(|@import )["']?(?:https?:)?//""")
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert {file.name: found for file in files if (found := loaded.findall(file.read_text()))} == {}
