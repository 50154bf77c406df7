"""The whole swarm on this machine, from the files of this folder: `python swarm.py [--media ipfs+iota]`.

A workstation, three airports, a keeper, an observer and ten sensors, each a process of its own. It ends once rows and models have gone all
ways, tells each way when it is seen, and fails if that takes too long or a peer ends by itself.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
from processes import END_SECONDS, Peer, ended, with_parent

AIRPORTS = ("ewr", "jfk", "lga")
TRAINERS = ("workstation", *AIRPORTS)
STATIONS = (
    *("ewr_winter", "ewr_spring", "ewr_summer", "ewr_autumn"),
    *("jfk_winter", "jfk_summer", "jfk_autumn"),
    *("lga_winter", "lga_summer", "lga_autumn"),
)
MEDIA = ("folder", "ipfs+iota", "libp2p")
LOOPBACK = '["/ip4/127.0.0.1/tcp/0"]'
ADDRESS = re.compile(r"/ip4/127\.0\.0\.1/tcp/[0-9]+/p2p/[0-9A-Za-z]+")
SENSOR = re.compile(r"^sensor ([0-9a-f]{64}) ", re.MULTILINE)
NODES = re.compile(r"^nodes = (\[.*\])$", re.MULTILINE)
LOOK_SECONDS = 2.0
ENDED = (0, 130)  # by itself, or as by Ctrl-C
BEHIND = 40  # steps that the keeper may be behind what a trainer last told: two rounds


class SwarmError(Exception):
    """It has not become what it should."""


@attrs.define
class Swarm:
    """All peers by name, and what has been seen of them. After `end` it has failed, whatever the reason."""

    folder: Path
    end: float  # on the monotonic clock
    peers: dict[str, Peer] = attrs.field(factory=dict)
    seen: dict[str, str] = attrs.field(factory=dict)
    workstation_key: str = ""

    def start(self, name: str, keys: Sequence[str], file: str | None = None) -> Peer:
        self.peers[name] = peer = Peer.start(name, self.folder, keys, file=file)
        return peer

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

    def stop(self, names: Sequence[str]) -> None:
        """Stop these. Raises SwarmError for one that does not end as by Ctrl-C."""
        for name in names:
            self.peers[name].interrupt()
        for peer in map(self.peers.pop, names):
            try:
                code = peer.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                peer.process.kill()
                code = peer.process.wait()
            if code not in ENDED:
                raise SwarmError(f"{peer.name} has ended with exit code {code}:\n{peer.log[-4000:]}")

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
            self._look_at_rows(name, f"{name} has rows of the workstation", {self._key_of_workstation()})
        sensors = {found[1] for name in STATIONS if (found := SENSOR.search(self.peers[name].log))}
        self._look_at_rows("workstation", "the workstation has rows of sensors", sensors)
        if len(measured := [moment for moment in self.peers["observer"].said if moment["metrics"]]) > 1:
            self.see("the observer measures", f"AUC {measured[-1]['metrics']['auc']:.3f} at age {measured[-1]['step']}")
        if kept := self.kept_age():
            self.see("the keeper keeps", f"a model of age {kept}")
        return len(self.seen) == len(TRAINERS) + len(AIRPORTS) + 3

    def kept_age(self) -> int:
        """Of the newest model that the keeper has."""
        return max((moment["age"] for moment in self.peers["keeper"].said), default=0)

    def age(self) -> int:
        """The highest that a trainer has told."""
        return max(moment["age"] for name in TRAINERS for moment in self.peers[name].said)

    def _look_at_rows(self, name: str, what: str, givers: set[str]) -> None:
        """Whether it has rows of these peers. To ask costs the import of Learnae, so it is asked until it has."""
        if what in self.seen or not self.peers[name].said:
            return
        told = ask("data", "status", str(self.peers[name].home), "--json")
        rows = [one["rows"] for one in told["providers"] if one["peer"] in givers]
        self.see(what, f"{sum(rows):,} rows, of {len(rows)} of them" if rows else "")

    def _key_of_workstation(self) -> str:
        """Empty while it has told nothing yet."""
        if not self.workstation_key and self.peers["workstation"].said:
            self.workstation_key = str(ask("status", str(self.peers["workstation"].home), "--json")["peer"])
        return self.workstation_key


def ask(*words: str) -> Any:
    """What a command of Learnae says in JSON."""
    command = [sys.executable, "-m", "learnae", *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextmanager
def tangle(swarm: Swarm, port: int) -> Iterator[str]:
    """The `announcer.nodes` of two Hornets on this machine."""
    out, log_file = swarm.folder / "tangle.out", swarm.folder / "tangle.log"
    command = [*with_parent(), sys.executable, "-m", "learnae", "iota", "devnet", str(swarm.folder / "tangle"), "--port", str(port)]
    with out.open("w") as said, log_file.open("w") as log:
        process = subprocess.Popen([*command, "--depth", "9", "--milestone-seconds", "5"], stdout=said, stderr=log)

    def nodes() -> re.Match[str] | None:
        if process.poll() is not None:
            raise SwarmError(f"the tangle has ended, with exit code {process.returncode}:\n{log_file.read_text()[-4000:]}")
        return NODES.search(out.read_text())

    try:
        yield swarm.wait("a tangle", nodes)[1]
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # what it has started ends with it
            process.wait()


def start_all(swarm: Swarm, media: str, port: int, stack: ExitStack) -> None:
    """The keeper comes first: over libp2p it is the one whose address all others know."""
    announcer, storage = list[str](), list[str]()
    if media == "ipfs+iota":
        announcer = ["announcer.use=iota", f"announcer.nodes={stack.enter_context(tangle(swarm, port))}"]
        storage = ["storage.use=ipfs", f"storage.listen={LOOPBACK}"]
    elif media == "libp2p":
        announcer = ["announcer.use=gossipsub", f"announcer.listen={LOOPBACK}", "announcer.mdns=false"]
        storage = ["storage.use=libp2p"]
    if media != "folder":  # these leave the machine, and only who has the key takes part
        key = swarm.folder / "swarm.key"
        subprocess.run([sys.executable, "-m", "learnae", "key", "--file", str(key)], check=True, capture_output=True)
        announcer.append(f"swarm.key_file={key}")
    keeper = swarm.start("keeper", [*announcer, *storage])
    if media == "libp2p":
        address = swarm.wait("the address of the keeper", lambda: ADDRESS.search(keeper.log))[0]
        announcer.append(f'announcer.peers=["{address}"]')
    for name in (*TRAINERS, "observer"):
        swarm.start(name, [*announcer, *storage])
    for station in STATIONS:
        swarm.start(station, [f"sensor.entry=sensors:{station}", *announcer], file="sensor.toml")


def run(swarm: Swarm, media: str, port: int) -> None:
    """Raises SwarmError."""
    swarm.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack, ended(swarm.peers):
        start_all(swarm, media, port, stack)
        swarm.wait("rows and models on all ways", swarm.look)
        age = swarm.age()
        swarm.stop(TRAINERS)
        swarm.wait("the keeper has the newest model", lambda: swarm.kept_age() >= age - BEHIND)
        swarm.see("the keeper keeps the swarm, which sleeps", f"a model of age {swarm.kept_age()}")
        swarm.stop(list(swarm.peers))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--media", choices=MEDIA, default="folder", help="what carries models, rows and announcements")
    options.add_argument("--out", type=Path, help="a folder for homes and logs; without it a temporary one")
    options.add_argument("--port", type=int, default=14265, help="of the tangle's first node")
    options.add_argument("--seconds", type=float, default=1800.0, help="how long it may take")
    chosen = options.parse_args()
    swarm = Swarm((chosen.out or Path(tempfile.mkdtemp(prefix="flights-"))).absolute(), time.monotonic() + chosen.seconds)
    print(f"homes and logs are in {swarm.folder}", flush=True)
    try:
        run(swarm, chosen.media, chosen.port)
    except SwarmError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
