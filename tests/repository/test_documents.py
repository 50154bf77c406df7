"""The documents against the code: what they link to, type and list is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])

page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@page
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [target for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in target]
    assert [target for target in links if not _leads_somewhere(page, target)] == []


def _leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    return file.exists() and (not anchor or anchor in map(_anchor, re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)))


def _anchor(heading: str) -> str:
    """The name that a heading gets in a rendered page."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


@page
def test_every_make_command_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^ *\$? ?)make ([a-z-]+)", page.read_text(), re.MULTILINE)) - targets == set()


@page
def test_every_piece_of_code_can_be_read(page: Path) -> None:
    for language, code in re.findall(r"```(python|toml)\n(.*?)```", page.read_text(), re.DOTALL):
        if language == "toml":
            tomllib.loads(code)
        elif page.parent.name != "reference":  # there are signatures without bodies
            compile(code, str(page), "exec")


def test_every_document_can_be_found_from_the_index() -> None:
    reached, waiting = set[Path](), [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [page.parent / name for name in re.findall(r"\]\(([^)\s#]+)[)#]", page.read_text()) if "://" not in name]
    assert [str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md") if path.resolve() not in reached] == []


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("record", DECISIONS, ids=lambda record: record.stem)
def test_a_decision_that_does_not_hold_says_on_its_first_line_what_replaced_it(record: Path) -> None:
    text, number = record.read_text(), record.name[:4]
    title, status = text.partition("\n")[0], re.findall(r"^- Status: (.*)$", text, re.MULTILINE)[0]
    by = re.findall(r"\[(\d{4})\]", status.partition(";")[0]) if status.startswith("replaced") else []
    assert re.findall(r"\d{4}", title.partition("(replaced")[2]) == by
    [listed] = re.findall(rf"^\| {number} \| .*\]\((.*)\) \| (.*) \|$", (record.parent / "README.md").read_text(), re.MULTILINE)
    assert (listed[0], listed[1].split()[0], re.findall(r"\d{4}", listed[1])) == (record.name, re.split(r"[ ;]", status)[0], by)


def test_how_the_house_is_ordered_names_every_room_and_no_other() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## How the house is ordered")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)(?:\.py)?`", text))
    rooms = {path.relative_to(ROOT / "learnae").parts[0].removesuffix(".py") for path in (ROOT / "learnae").rglob("*.py")}
    rooms = {room for room in rooms if not room.startswith("_")}
    support = {path.stem for path in (ROOT / "tests" / "support").iterdir()}
    in_the_table = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|([^|]+)\|", text, re.MULTILINE))))
    in_brackets = set(re.findall(r"\(`(\w+)`\)", text))
    assert (rooms - named, in_the_table - rooms, in_brackets - support) == (set(), set(), set())


def test_the_reference_says_what_the_code_says() -> None:
    result = subprocess.run([sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"type `make reference`\n{result.stdout}{result.stderr}"
