"""The coordinator's keys: one signs each milestone, and their number is fixed when they are made."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import attrs

from learnae_iota.devnet.program import environment

TRYTES = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEED_TRYTES = 81
SECURITY_LEVEL = 2
SEED_VARIABLE = "COO_SEED"
MAKE_SECONDS = 3600.0


@attrs.frozen
class Keys:
    """What is needed to sign 2 ** depth milestones; `tree` is the file that Hornet makes of the seed."""

    seed: str = attrs.field(repr=False)
    address: str
    depth: int
    tree: Path

    @classmethod
    def at(cls, folder: Path, program: str, depth: int) -> Keys:
        """Those of a folder; made, with so many, if there are none."""
        note = folder / "keys.json"
        if not note.exists():
            _make(folder, program, depth)
        return cls(**json.loads(note.read_text()), tree=folder.absolute() / "coordinator.tree")


def new_seed() -> str:
    """Secret, and random; the last tryte has no weight for Hornet."""
    return "".join(secrets.choice(TRYTES) for _ in range(SEED_TRYTES - 1)) + "9"


def _make(folder: Path, program: str, depth: int) -> None:
    """The note comes last: without it the next start makes them anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    seed = new_seed()
    settings = {"merkleTreeDepth": depth, "securityLevel": SECURITY_LEVEL, "merkleTreeFilePath": "coordinator.tree"}
    (folder / "config.json").write_text(json.dumps({"coordinator": settings}))
    made = subprocess.run(
        [program, "tool", "merkle"],
        cwd=folder,
        env=environment(**{SEED_VARIABLE: seed}),
        capture_output=True,
        text=True,
        check=True,
        timeout=MAKE_SECONDS,
    )
    (address,) = re.findall(rf"root: ([{TRYTES}]{{81}})", made.stdout)
    (folder / "keys.json").write_text(json.dumps({"seed": seed, "address": address, "depth": depth}))
