"""How `make docs` builds the site: Sphinx reads the Markdown where it lies, so that links between files hold in both places.

Nothing in the site comes from elsewhere: no fonts, no scripts, no counters. Its order is in `contents.toml`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
PICTURES = "build/pictures"  # where `make pictures` puts them: no binary is in the repository

project = "Learnae"
author = "the Learnae developers"
copyright = "the Learnae developers, Apache License 2.0"

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "examples/*/README.md", "plugins/*/README.md", "bench/README.md"]
exclude_patterns = [".*", "build", "dist", "out", "tests", "tools", "learnae"]
myst_heading_anchors = 4  # named as on a page of a repository

html_theme = "furo"
html_title = "Learnae"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]


def setup(app: Sphinx) -> None:
    app.connect("source-read", _add_contents)
    app.connect("source-read", _add_pictures)
    app.connect("build-finished", _lead_to_the_index)


def _add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Sphinx wants the order of the pages within its pages, where a reader of the plain files would find only noise."""
    if page == root_doc:
        sections = tomllib.loads((ROOT / "docs" / "contents.toml").read_text())
        source[0] += "".join(_toctree(pages, caption) for caption, pages in sections.items())
    elif page == "docs/decisions/README":
        source[0] += _toctree(sorted(path.stem for path in (ROOT / "docs" / "decisions").glob("*.md") if path.stem != "README"))


def _add_pictures(app: Sphinx, page: str, source: list[str]) -> None:
    """Where a page says `<!-- picture NAME: what it shows -->`, and the picture was made."""
    source[0] = re.sub(r"^<!-- picture ([\w-]+): (.+) -->$", _figure, source[0], flags=re.MULTILINE)


def _figure(found: re.Match[str]) -> str:
    name, caption = found.groups()
    if not (ROOT / PICTURES / f"{name}.png").is_file():
        return ""
    return f"```{{figure}} /{PICTURES}/{name}.png\n:alt: {caption}\n\n{caption}\n```"


def _toctree(pages: list[str], caption: str = "") -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}" if caption else ":maxdepth: 1", "", *pages, "```", ""])


def _lead_to_the_index(app: Sphinx, error: Exception | None) -> None:
    """The documents are a folder of the site, as they are one of the repository."""
    if error is None:
        (app.outdir / "index.html").write_text(
            '<!doctype html><title>Learnae</title><meta http-equiv="refresh" content="0; url=docs/index.html">'
        )
