"""No program of ours is started in such a way that a file of the user's could shadow a module in it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "learnae", *(ROOT / "plugins" / name / f"learnae_{name}" for name in ("iota", "ipfs", "libp2p"))]


def test_only_one_module_starts_pythons() -> None:
    starters = {
        path.relative_to(ROOT).as_posix() for source in SOURCES for path in source.rglob("*.py") if "sys.executable" in path.read_text()
    }
    assert starters == {"learnae/launch.py"}
