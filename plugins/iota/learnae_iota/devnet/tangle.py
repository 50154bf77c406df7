"""Some Hornets that know each other, in one folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from learnae import ConfigError, Problem
from learnae.lowlevel import open_file, reach_folder
from learnae_iota.devnet.keys import Keys, is_there
from learnae_iota.devnet.node import HornetProcess
from learnae_iota.devnet.ports import LOOPBACK, Ports
from learnae_iota.devnet.settings import write_settings

DEPTH = 12  # with milestones so often: for a day and a half
MILESTONE_SECONDS = 30
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@attrs.define(eq=False)
class Tangle:
    """`nodes[0]` issues milestones; each knows all others. Made and ended by `Tangle.running`."""

    folder: Path
    nodes: Sequence[HornetProcess]

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        folder: Path,
        program: str,
        ports: Sequence[Ports],
        *,
        depth: int = DEPTH,
        milestone_seconds: int = MILESTONE_SECONDS,
        options: Mapping[str, Any] | None = None,
    ) -> Iterator[Tangle]:
        """One node for each of the ports. Going on in the same folder is possible. Raises ConfigError and UnavailableError.

        `options` replace keys of Hornet's config.json. There are keys for 2 ** depth milestones, and no more come then.
        """
        with _locked(folder):
            keys = Keys.at(folder / "keys", program, depth)
            settings = {"milestone_seconds": milestone_seconds, "options": options or {}}
            tangle = cls(folder, [_node(folder, program, keys, ports, number, settings) for number in range(len(ports))])
            try:
                tangle.start()
                yield tangle
            finally:
                tangle.stop()

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def start(self) -> None:
        """All nodes, until they have met and agree on the newest milestone.

        Hornet issues no more milestones on a database that was not ended in order: then a new tangle begins.
        """
        if not self.nodes[0].ended_in_order:
            for node in self.nodes:
                node.forget()
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_until(partial(self._ready, node))

    def stop(self) -> None:
        """End those that run."""
        for node in self.nodes:
            node.ask_to_end()
        for node in self.nodes:
            node.stop()

    def _ready(self, node: HornetProcess) -> bool:
        return node.synchronised and all(node.is_connected_with(other.ports) for other in self.nodes if other is not node)

    def part(self, one: HornetProcess, other: HornetProcess) -> None:
        """Cut the line between two, until they are joined, or the later of them is started again."""
        earlier, later = sorted((one, other), key=self.nodes.index)
        later.call("removeNeighbors", uris=[_identity(earlier)])
        earlier.wait_until(lambda: not earlier.is_connected_with(later.ports))

    def join(self, one: HornetProcess, other: HornetProcess) -> None:
        """Let them meet again. The later one calls, as at a start."""
        earlier, later = sorted((one, other), key=self.nodes.index)
        later.call("addNeighbors", uris=[_identity(earlier)])
        earlier.wait_until(lambda: earlier.is_connected_with(later.ports))


def _identity(node: HornetProcess) -> str:
    return f"tcp://{LOOPBACK}:{node.ports.gossip}"


def _node(folder: Path, program: str, keys: Keys, ports: Sequence[Ports], number: int, settings: Mapping[str, Any]) -> HornetProcess:
    own, place, issues = ports[number], folder.absolute() / f"node-{number}", number == 0
    write = partial(write_settings, place, keys, own, ports[:number], issues=issues, **settings)
    return HornetProcess(place.name, place, program, keys, own, issues, write)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises ConfigError if another tangle runs here, the folder holds something else, or others may put something into it.

    No link that another user has made leads there.
    """
    try:
        place = reach_folder(folder, make=lambda above, name, _: os.mkdir(name, 0o700, dir_fd=above), parents=True)
        try:
            if (found := os.fstat(place)).st_uid not in (os.geteuid(), 0):
                raise ConfigError(Problem(str(folder), f"belongs to another user ({found.st_uid})", "name a folder of your own"))
            if found.st_mode & _OTHERS_WRITE:
                raise ConfigError(Problem(str(folder), f"others may write to it (mode {found.st_mode & 0o7777:o})", "take that right away"))
            if not is_there(folder / "keys") and not set(os.listdir(place)) <= {"lock", "keys"}:
                raise ConfigError(Problem(str(folder), "holds something else than a tangle", "name a new or an empty folder"))
            fd = open_file("lock", os.O_RDWR | os.O_CREAT, at=place, owners={os.geteuid(), 0})
        finally:
            os.close(place)
    except OSError as error:
        raise ConfigError(Problem(str(error.filename or folder), f"cannot be used: {error.strerror}", "name another folder")) from error
    with open(fd, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem = Problem(str(folder), f"is used by process {lock.read().strip()}", "end it, or name another folder")
            raise ConfigError(problem) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
