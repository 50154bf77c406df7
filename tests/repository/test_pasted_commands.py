"""Users paste the commands that errors name. A folder may be named by whoever gave it away: no path in a command stands there unquoted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from learnae import outlets

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "learnae").rglob("*.py"), *(file for file in (ROOT / "plugins").rglob("*.py") if "tests" not in file.parts)]
WORDS = "chmod|chown|cp|mv|rm|cd|mkdir|ln|cat|setfacl|rsync|sudo|docker run|python -P -m pytest|pip install|export"
COMMAND = re.compile(rf"(?:^|[\s:`(])({WORDS})\s")
QUOTED = frozenset({"in_shell"})
HARMLESS = frozenset({"rights", "owner", "os.geteuid()"})  # letters such as rwx, and numbers
OF_OURS = {  # what is named there no giver of a file can choose
    "learnae/cli/check.py: name": "a plugin of this checkout",
    "learnae/cli/new.py: ','.join(extras)": "extras of ours",
    "learnae/demo/show.py: extras": "extras of ours",
    "learnae/plugins/hooks.py: US": "our own name",
    "learnae/plugins/hooks.py: bounds": "versions, of a plugin that is installed",
    "learnae/plugins/observers/__init__.py: name": "an extra of ours",
}
ENDS = re.compile("[;,]")


def unquoted_in(text: str) -> list[str]:
    return [shown for tree in ast.walk(ast.parse(text)) if isinstance(tree, ast.JoinedStr) for shown in _unquoted(tree)]


def _unquoted(text: ast.JoinedStr) -> Iterator[str]:
    """What stands in the argument of a command as it is."""
    said = ""
    for part in text.values:  # the parts of a text within a text, such as the argument of `in_shell`, are seen by themselves
        if isinstance(part, ast.FormattedValue):
            if _in_a_command(said) and (not _is_safe(part.value) or _within_quotes(said)):
                yield ast.unparse(part.value)
            said += "X"
        elif isinstance(part, ast.Constant):
            said += str(part.value)


def _in_a_command(said: str) -> bool:
    found = list(COMMAND.finditer(said))
    return bool(found) and not ENDS.search(said[found[-1].end() :])


def _within_quotes(said: str) -> bool:
    """Double quotes keep no command substitution from running, and what is quoted within them is not quoted any more."""
    return said[list(COMMAND.finditer(said))[-1].start() :].count('"') % 2 == 1


def _is_safe(value: ast.expr) -> bool:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in QUOTED:
        return True
    return ast.unparse(value) in HARMLESS


def test_no_path_stands_unquoted_in_a_command() -> None:
    found = {f"{file.relative_to(ROOT).as_posix()}: {shown}" for file in SOURCES for shown in unquoted_in(file.read_text())}
    assert ROOT / "learnae" / "shared_folder.py" in SOURCES and found == set(OF_OURS)


def test_the_outlets_know_each_of_these_commands() -> None:
    assert all(outlets.COMMAND.search(f"mend it: {word} x") for word in WORDS.split("|"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('f"chmod u+r {path}"', ["path"]),
        ('f"chmod u+{rights} {in_shell(path)}"', []),
        ('f"chmod u+{rights} {path}"', ["path"]),
        ('f"chmod 600 {in_shell(path)}; if others may have read {path}, change it"', []),
        ('f"make it yours: " f"chown -R {os.geteuid()} {self.path / name}"', ["self.path / name"]),
        ('f"cp -p {in_shell(a)} {b}"', ["b"]),
        ('f"by `cd {folder}`"', ["folder"]),
        ('f"{path} is a scdmod {path}"', []),
        ("""f'pip install -e "./{folder}[test]"'""", ["folder"]),
        ("""f'pip install -e {in_shell(f"{place}[test]")}'""", []),
        ("""f'such as "{path}"'""", []),
        ("""f'chmod 600 "{path}"'""", ["path"]),
        ("""f'chmod 600 "{in_shell(path)}"'""", ["in_shell(path)"]),
    ],
)
def test_it_finds_what_it_should(source: str, found: list[str]) -> None:
    assert unquoted_in(source) == found
