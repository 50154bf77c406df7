"""Peers that are processes in network namespaces: started, ordered about, frozen and killed, and watched by what they tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from learnae.testing.context import peer_named
from learnae.testing.published import MadeUpUpdate, payloads, published
from learnae_libp2p.keys import peer_id
from plugins.libp2p.tests.support.namespaces import DIES_WITH_US, ROOT, Line, Machine, Network, network

PORT = 4101
PROBE_SECONDS = 0.5
LIMIT_SECONDS = 400.0  # two that lost each other try again after ever longer pauses, of minutes where others use the machine
PROGRAM = "plugins.libp2p.tests.support.lone_peer"
CHECKING = "plugins.libp2p.tests.support.checking"


@attrs.frozen
class Loopback:
    """This machine itself, for peers that need no network of their own."""

    address: str = "127.0.0.1"

    @property
    def space(self) -> Loopback:
        return self

    def inside(self, *command: str) -> list[str]:
        """The command line that runs this one, for as long as this process lives."""
        return [*DIES_WITH_US, *command]


@attrs.define(eq=False)
class PeerProcess:
    """One peer, dead or alive. What it told in this life stands in its fields."""

    name: str
    machine: Machine | Loopback
    home: Path
    program: str = PROGRAM
    peers: Sequence[str] = ()
    port: int = PORT
    given: Mapping[str, Any] = attrs.field(factory=dict)  # to its program, beside what all are given
    heard: list[tuple[str, bool]] = attrs.field(factory=list)
    connected: set[str] = attrs.field(factory=set)
    relayed: set[str] = attrs.field(factory=set)  # of them, those whom another one carries to
    built: int = 0
    told: dict[tuple[str, str], Mapping[str, Any]] = attrs.field(factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _news: trio.Event = attrs.field(factory=trio.Event)
    _probes: int = 0

    @property
    def id(self) -> str:
        return str(peer_id(peer_named(self.name)))

    @property
    def address(self) -> str:
        return f"/ip4/{self.machine.address}/tcp/{self.port}/p2p/{self.id}"

    @property
    def alive(self) -> bool:
        return self.process is not None

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, f"{self.name} does not run"
        return self.process

    async def start(self, nursery: trio.Nursery) -> None:
        """Returns when it serves. Its life before, if any, is forgotten here, and not in its home."""
        self.heard.clear(), self.connected.clear(), self.told.clear()
        process = self._spawned()
        nursery.start_soon(self._read, process)
        await self.until(lambda: ("ready", "") in self.told)

    def _spawned(self) -> subprocess.Popen[bytes]:
        """By the main thread, which lives as long as we do: the kernel ends the child with the thread that has started it."""
        self.home.mkdir(parents=True, exist_ok=True)
        place = self.machine.address if isinstance(self.machine, Loopback) else "0.0.0.0"
        given = {"name": self.name, "home": str(self.home), "listen": [f"/ip4/{place}/tcp/{self.port}"], "peers": list(self.peers)}
        command = self.machine.space.inside(sys.executable, "-m", self.program, json.dumps({**given, **self.given}))
        with (self.home / "errors").open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Linux shares the processor between sessions: all peers in one would starve beside other work
            )
        return self.process

    def _checking(self, *others: PeerProcess) -> subprocess.Popen[bytes]:
        """By the main thread, as in `_spawned`: a worker's child would end with its worker."""
        command = [sys.executable, "-m", CHECKING, str(self.home / "checked"), f"/ip4/0.0.0.0/tcp/{PORT}"]
        command += [other.address for other in others]
        return subprocess.Popen(self.machine.space.inside(*command), cwd=ROOT, stdout=subprocess.PIPE)

    async def checks(self, *others: PeerProcess) -> str:
        """What `learnae check` says on its machine, where it does not run now."""
        process = self._checking(*others)
        try:
            said, _ = await trio.to_thread.run_sync(process.communicate, None, LIMIT_SECONDS, abandon_on_cancel=True)
        finally:
            process.kill()
        assert process.wait() == 0, "it says why on its standard error"
        return said.decode()

    def kill(self) -> None:
        """As the kernel does where memory has run out."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
        self.process = None

    def freeze(self) -> None:
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.running.send_signal(signal.SIGCONT)

    def order(self, do: str, **what: Any) -> None:
        pipe = self.running.stdin
        assert pipe is not None
        pipe.write(json.dumps({"do": do, **what}).encode() + b"\n")
        pipe.flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Raises AssertionError where it does not come, with what the peer has told."""
        with trio.move_on_after(LIMIT_SECONDS) as limit:
            while not condition():
                if self.process is not None and self.process.poll() is not None:
                    raise AssertionError(f"{self.name} has ended with {self.process.returncode}: {self._errors()}")
                await self._news.wait()
        if limit.cancelled_caught:
            raise AssertionError(f"{self.name} is connected to {self.connected}, has heard {self.heard[-5:]}: {self._errors()}")

    async def hears(self, text: str) -> bool:
        """Whether it came as backlog."""
        await self.until(lambda: any(one == text for one, _ in self.heard))
        return next(backlog for one, backlog in self.heard if one == text)

    async def meets(self, *others: PeerProcess) -> None:
        await self.until(lambda: {other.id for other in others} <= self.connected)

    async def meets_directly(self, *others: PeerProcess) -> None:
        await self.until(lambda: {other.id for other in others} <= self.connected - self.relayed)

    async def meets_by_relay(self, *others: PeerProcess) -> None:
        await self.until(lambda: {other.id for other in others} <= self.relayed)

    async def misses(self, *others: PeerProcess) -> None:
        await self.until(lambda: not {other.id for other in others} & self.connected)

    async def is_heard_by(self, *others: PeerProcess) -> None:
        """Says something again and again until all of them have heard of it while it was said: then gossip goes from here to there."""
        self._probes += 1
        start = f"probe {self._probes} of {self.name} "
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._probe, start)
            for other in others:
                await other.until(lambda other=other: any(one.startswith(start) and not late for one, late in other.heard))  # type: ignore[misc]
            nursery.cancel_scope.cancel()

    async def puts(self, name: str, count: int, length: int) -> MadeUpUpdate:
        self.order("put", name=name, count=count, length=length)
        await self.until(lambda: ("put", name) in self.told)
        return published(name, *payloads(count, length=length))

    async def fetches(self, update: MadeUpUpdate, *hinted: PeerProcess) -> set[str]:
        """The CIDs that came, when nothing more comes."""
        self._probes += 1
        name = f"fetch {self._probes}"
        self.order("fetch", name=name, cids=list(update.cids), hints=[other.address for other in hinted])
        await self.until(lambda: ("fetched", name) in self.told)
        return set(self.told["fetched", name]["found"])

    def _errors(self) -> str:
        return (self.home / "errors").read_text(errors="replace")[-2000:]

    async def _probe(self, start: str) -> None:
        number = 0
        while True:
            number += 1
            self.order("say", text=f"{start}{number}", key="probe")
            await trio.sleep(PROBE_SECONDS)

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        waiting = bytearray()
        async with trio.lowlevel.FdStream(os.dup(process.stdout.fileno())) as source:
            async for data in source:
                waiting += data
                while (end := waiting.find(b"\n")) >= 0:
                    self._take(json.loads(waiting[:end]))
                    del waiting[: end + 1]
        await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        self._tell()

    def _take(self, what: Mapping[str, Any]) -> None:
        if what["event"] == "heard":
            self.heard.append((what["text"], what["backlog"]))
        elif what["event"] == "connections":
            self.connected, self.relayed, self.built = set(what["peers"]), set(what.get("relayed", ())), what["built"]
        else:
            self.told[what["event"], what.get("name", "")] = what
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


@attrs.define(eq=False)
class NetworkOfPeers:
    """Machines with one peer each."""

    network: Network
    nursery: trio.Nursery
    folder: Path
    peers: dict[str, PeerProcess] = attrs.field(factory=dict)

    def place(self, name: str, *, line: Line | None = None, program: str = PROGRAM) -> PeerProcess:
        """A machine for this peer, which is not started yet."""
        return self._placed(name, self.network.add(f"10.77.0.{len(self.peers) + 1}", line=line), program)

    def place_behind_router(self, name: str, *, symmetric: bool = False) -> PeerProcess:
        """As `place`, behind a router of its own."""
        return self._placed(name, self.network.add_router(f"10.77.0.{len(self.peers) + 1}", symmetric=symmetric).add(), PROGRAM)

    def _placed(self, name: str, machine: Machine, program: str) -> PeerProcess:
        self.peers[name] = PeerProcess(name, machine, self.folder / name, program)
        return self.peers[name]

    async def start(self, *peers: PeerProcess, knowing: Iterable[PeerProcess] = ()) -> None:
        """Each with the addresses of all these others in its file."""
        known = list(knowing)
        for peer in peers:
            peer.peers = [other.address for other in known if other is not peer]
        async with trio.open_nursery() as starting:
            for peer in peers:
                starting.start_soon(peer.start, self.nursery)

    async def open(self, *names: str) -> list[PeerProcess]:
        """Peers that know each other, and are connected."""
        peers = [self.place(name) for name in names]
        await self.start(*peers, knowing=peers)
        for peer in peers:
            await peer.meets(*(other for other in peers if other is not peer))
        return peers


@asynccontextmanager
async def network_of_peers(folder: Path) -> AsyncIterator[NetworkOfPeers]:
    """All of it is gone when this closes."""
    with network() as made:
        async with trio.open_nursery() as nursery:
            peers = NetworkOfPeers(made, nursery, folder)
            try:
                yield peers
            finally:
                for peer in peers.peers.values():
                    peer.kill()
                nursery.cancel_scope.cancel()
