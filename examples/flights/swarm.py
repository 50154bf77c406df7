"""The whole swarm on this machine, from the files of this folder: `python swarm.py`.

A workstation, three airports and an observer, each a process of its own. It ends once rows and models have gone all ways, tells each way
when it is seen, and fails if that takes too long or a peer ends by itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from processes import Peer, ended

AIRPORTS = ("ewr", "jfk", "lga")
TRAINERS = ("workstation", *AIRPORTS)
LOOK_SECONDS = 2.0
ENDED = (0, 130)  # by itself, or as by Ctrl-C


class SwarmError(Exception):
    """It has not become what it should."""


@attrs.define
class Swarm:
    """All peers by name, and what has been seen of them. After `end` it has failed, whatever the reason."""

    folder: Path
    end: float  # on the monotonic clock
    peers: dict[str, Peer] = attrs.field(factory=dict)
    seen: dict[str, str] = attrs.field(factory=dict)
    keys: dict[str, str] = attrs.field(factory=dict)

    def wait(self, what: str, found: Callable[[], Any]) -> Any:
        """What `found` returns, as soon as that is something. Raises SwarmError when it takes too long, or a peer ends meanwhile."""
        while not (one := found()):
            for peer in self.peers.values():
                if peer.process.poll() is not None:
                    raise SwarmError(f"{peer.name} has ended, with exit code {peer.process.returncode}:\n{peer.log[-4000:]}")
            if time.monotonic() > self.end:
                raise SwarmError(f"it takes too long: {what}. Seen so far: {json.dumps(self.seen, indent=4)}")
            time.sleep(LOOK_SECONDS)
        return one

    def see(self, what: str, how: str) -> None:
        """Note and tell it, the first time."""
        if how and what not in self.seen:
            self.seen[what] = how
            print(f"{what}: {how}", flush=True)

    def look(self) -> bool:
        """Note what there is now. Returns whether that is all."""
        for name in TRAINERS:
            if said := [moment for moment in self.peers[name].said if moment["merged"]]:
                self.see(f"{name} merges", f"{said[-1]['merged']} updates")
        for name in AIRPORTS:
            self._look_at_rows(name, f"{name} has rows of the workstation", self._key_of("workstation"))
        if len(measured := [moment for moment in self.peers["observer"].said if moment["metrics"]]) > 1:
            self.see("the observer measures", f"AUC {measured[-1]['metrics']['auc']:.3f} at age {measured[-1]['step']}")
        return len(self.seen) == len(TRAINERS) + len(AIRPORTS) + 1

    def _look_at_rows(self, name: str, what: str, giver: str) -> None:
        """Whether it has rows of this peer. To ask costs the import of Learnae, so it is asked until it has."""
        if what in self.seen or not self.peers[name].said:
            return
        told = ask("data", "status", str(self.peers[name].home), "--json")
        rows = sum(one["rows"] for one in told["providers"] if one["peer"] == giver)
        self.see(what, f"{rows:,}" if rows else "")

    def _key_of(self, name: str) -> str:
        """Empty while it has told nothing yet."""
        if name not in self.keys and self.peers[name].said:
            self.keys[name] = str(ask("status", str(self.peers[name].home), "--json")["peer"])
        return self.keys.get(name, "")


def ask(*words: str) -> Any:
    """What a command of Learnae says in JSON."""
    command = [sys.executable, "-m", "learnae", *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def run(swarm: Swarm) -> None:
    """Raises SwarmError."""
    with ended(swarm.peers):
        for name in (*TRAINERS, "observer"):
            swarm.peers[name] = Peer.start(name, swarm.folder)
        swarm.wait("rows and models on all ways", swarm.look)
    for peer in swarm.peers.values():
        if peer.process.returncode not in ENDED:
            raise SwarmError(f"{peer.name} has ended with exit code {peer.process.returncode}:\n{peer.log[-4000:]}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, help="a folder for homes and logs; without it a temporary one")
    options.add_argument("--seconds", type=float, default=1800.0, help="how long it may take")
    chosen = options.parse_args()
    swarm = Swarm((chosen.out or Path(tempfile.mkdtemp(prefix="flights-"))).absolute(), time.monotonic() + chosen.seconds)
    print(f"homes and logs are in {swarm.folder}", flush=True)
    try:
        run(swarm)
    except SwarmError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
