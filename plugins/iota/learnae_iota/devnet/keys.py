"""The coordinator's keys: one signs each milestone, and their number is fixed when they are made."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from pathlib import Path

import attrs

from learnae import ConfigError, Problem
from learnae.lowlevel import read_file
from learnae_iota.devnet.program import GET_IT, Running

TRYTES = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEED_TRYTES = 81
SECURITY_LEVEL = 2
SEED_VARIABLE = "COO_SEED"
MAKE_SECONDS = 3600.0
MOST_SHOWN = 200
MOST_BYTES = 4096
_NOTED = {"seed", "address", "depth"}


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


def is_there(folder: Path) -> bool:
    """Whether these are keys of a tangle. Raises ConfigError for a folder that holds something else, which is kept."""
    try:
        names = set(os.listdir(folder))
    except FileNotFoundError:
        return False
    if "keys.json" not in names and not names <= {"config.json", "keys.log", "coordinator.tree"}:
        raise ConfigError(Problem(str(folder), "holds something else than the keys of a tangle", "name another folder"))
    try:
        return "keys.json" in names and set(json.loads(read_file(folder / "keys.json", MOST_BYTES))) >= _NOTED
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(Problem(str(folder / "keys.json"), f"is damaged: {error}", "name a new folder")) from error


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
    log = folder / "keys.log"
    making = Running.start([program, "tool", "merkle"], folder, log, {SEED_VARIABLE: seed})
    try:
        making.process.wait(MAKE_SECONDS)
    finally:
        making.kill()
    address = _address(log.read_text(errors="replace"), program)
    (folder / "keys.json").write_text(json.dumps({"seed": seed, "address": address, "depth": depth}))


def _address(said: str, program: str) -> str:
    found = re.search(rf"root: ([{TRYTES}]{{81}})$", said, re.MULTILINE)
    if found is None:
        raise ConfigError(Problem(program, f"made no keys: {said[-MOST_SHOWN:]!r}", GET_IT))
    return found.group(1)
