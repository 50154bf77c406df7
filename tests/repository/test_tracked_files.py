"""What the repository may hold: nothing that is true on one machine only, nothing that cannot be read."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# In pieces, so that this file does not find itself.
MACHINE_PATHS = [
    re.compile(rf"(?<![\w.$}}])/{folder}/" + r"[\w.-]") for folder in ("wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers", "op" + "t")
]
REGISTRIES = [
    re.compile(r"\b" + re.escape(".".join(host)) + r"\b")
    for host in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
        ("deb", "debian", "org"),
        ("download", "pytorch", "org"),
        ("repo", "maven", "apache", "org"),
    )
]
LONGEST = 400
LARGEST_BYTES = 512 * 1024


@cache
def tracked() -> tuple[Path, ...]:
    """All files that git knows or would take."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git, and a checkout that it knows")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(path for name in names if name and (path := ROOT / name).is_file())


def found(pattern: re.Pattern[str]) -> list[str]:
    """Each line of a tracked file that matches, as file:line: text."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("pattern", MACHINE_PATHS, ids=lambda pattern: pattern.pattern)
def test_no_file_names_a_path_of_one_machine(pattern: re.Pattern[str]) -> None:
    assert found(pattern) == []


@pytest.mark.parametrize("pattern", REGISTRIES, ids=lambda pattern: pattern.pattern)
def test_no_file_names_the_address_of_a_registry(pattern: re.Pattern[str]) -> None:
    locked = "kernels/Cargo.lock:"  # cargo writes beside each version which index it is of, and fetches from what the machine is set to
    assert [line for line in found(pattern) if not line.startswith(locked)] == []


def test_no_file_is_binary_or_large() -> None:
    binary = [path for path in tracked() if b"\0" in (data := path.read_bytes()) or len(data) > LARGEST_BYTES]
    assert binary == []


def test_every_module_can_be_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert long == {}, "more than one thing lives there: split by reason to change"


def test_no_link_leads_out_of_the_repository() -> None:
    assert [path for path in tracked() if path.is_symlink()] == []
