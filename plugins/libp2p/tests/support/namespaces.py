"""Networks of a test's own: each machine is a network namespace, held by one process, and gone with it. The real network is not touched.

The kernel ends the holders with the thread that has started them, which is the main one: a test run that is killed leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs

SECONDS = 30.0  # for one command; it takes milliseconds
TOOLS = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux"}
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
LINK = "eth0"
ROOT = Path(__file__).parents[4]


def what_is_missing() -> str | None:
    """Why no network can be made here, as the reason of a skip; None where one can."""
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            return f"needs {tool}: apt-get install {package}"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, to make network namespaces"
    try:
        with network() as trial:
            trial.add("10.77.0.1")
            trial.add("10.77.0.2", line=Line())
            trial.add_router("10.77.0.3")
    except (subprocess.SubprocessError, OSError) as error:
        told = getattr(error, "stderr", "") or str(error)
        return f"needs a kernel with network namespaces, veth, bridges, taps and NAT of nftables: {str(told).strip()[:200]}"
    return None


@attrs.frozen(kw_only=True)
class Line:
    """What a packet suffers on its way, each way alike. The kernels that we meet have no netem, so a process carries the packets."""

    delay: float = 0.0  # seconds
    loss: float = 0.0  # of 1


@attrs.define(eq=False)
class Namespace:
    """A machine with loopback alone, until `links` gives it more."""

    _holder: subprocess.Popen[bytes]

    @classmethod
    def open(cls) -> Namespace:
        """Ends with `close`, and with this process."""
        command = [*DIES_WITH_US, "unshare", "--net", "sh", "-c", "echo up; exec cat"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        made = cls(holder)
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline() != b"up\n":
            told = holder.stderr.read().decode(errors="replace")
            made.close()
            raise OSError(f"no network namespace: {told}")
        made.run("ip", "link", "set", "lo", "up")
        return made

    def close(self) -> None:
        """The kernel removes its links with the last process in it."""
        self._holder.kill()
        self._holder.wait()
        for pipe in (self._holder.stdin, self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    @property
    def pid(self) -> int:
        return self._holder.pid

    def inside(self, *command: str) -> list[str]:
        """The command line that runs this one there, for as long as this process lives."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *DIES_WITH_US, *command]

    def run(self, *command: str, given: str | None = None) -> str:
        """Raises CalledProcessError, whose `stderr` says why."""
        done = subprocess.run(self.inside(*command), input=given, capture_output=True, text=True, check=True, timeout=SECONDS)
        return done.stdout


@attrs.define(eq=False)
class Machine:
    """One namespace, and the port of the switch that its link leads to."""

    space: Namespace
    address: str
    port: str


@attrs.define(eq=False)
class Network:
    """A switch with machines around it. What `apart` has divided cannot hear each other until `whole`."""

    switch: Namespace
    _stack: ExitStack
    _ports: int = 0

    def add(self, address: str, *, line: Line | None = None, route: str | None = None) -> Machine:
        """A machine with this address in a network of 256. `route` is where it sends all that is not for its neighbours."""
        space = self._opened()
        port = self._link(self.switch, space, line)
        self.switch.run("ip", "link", "set", port, "master", "whole", "up")
        return self._addressed(Machine(space, address, port), route)

    def add_router(self, address: str, *, symmetric: bool = False) -> Router:
        """A machine that translates the addresses of those behind it; a symmetric one takes another port for each of their partners."""
        machine = self.add(address)
        machine.space.run("ip", "link", "add", "inside", "type", "bridge")
        machine.space.run("ip", "address", "add", "192.168.7.1/24", "dev", "inside")
        machine.space.run("ip", "link", "set", "inside", "up")
        machine.space.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        masquerade = "masquerade random" if symmetric else "masquerade"
        rules = f"""
        table ip router {{
            chain out {{ type nat hook postrouting priority srcnat; oifname "{LINK}" {masquerade}; }}
            chain through {{ type filter hook forward priority filter; ct state established,related accept; iifname "{LINK}" drop; }}
            chain in {{ type filter hook input priority filter; ct state established,related accept; iifname "{LINK}" drop; }}
        }}
        """
        machine.space.run("nft", "-f", "-", given=rules)
        return Router(self, machine)

    def apart(self, *away: Machine) -> None:
        """These hear each other alone from now on."""
        for machine in away:
            self.switch.run("ip", "link", "set", machine.port, "master", "away")

    def whole(self, *back: Machine) -> None:
        for machine in back:
            self.switch.run("ip", "link", "set", machine.port, "master", "whole")

    def readdress(self, machine: Machine, address: str) -> None:
        """As where another router gives it another address: the old one is gone, and with it what was spoken there."""
        machine.space.run("ip", "address", "flush", "dev", LINK)
        machine.address = address
        self._addressed(machine, None)

    def _opened(self) -> Namespace:
        space = Namespace.open()
        self._stack.callback(space.close)
        return space

    def _link(self, hub: Namespace, space: Namespace, line: Line | None) -> str:
        self._ports += 1
        port = f"port{self._ports}"
        if line is None:
            hub.run(*f"ip link add {port} type veth peer name {LINK} netns {space.pid}".split())
            return port
        program = [sys.executable, "-m", "plugins.libp2p.tests.support.slow_line"]
        ends = [f"{space.pid}", LINK, f"{hub.pid}", port, str(line.delay), str(line.loss)]
        carrier = subprocess.Popen([*DIES_WITH_US, *program, *ends], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._stack.callback(_end, carrier)
        assert carrier.stdout is not None and carrier.stderr is not None
        if carrier.stdout.readline() != b"up\n":
            raise OSError(f"no slow line: {carrier.stderr.read().decode(errors='replace')[-300:]}")
        return port

    def _addressed(self, machine: Machine, route: str | None) -> Machine:
        machine.space.run("ip", "address", "add", f"{machine.address}/24", "dev", LINK)
        machine.space.run("ip", "link", "set", LINK, "up")
        if route is not None:
            machine.space.run("ip", "route", "add", "default", "via", route)
        return machine


@attrs.define(eq=False)
class Router:
    """A machine of the network with a network of its own behind it."""

    network: Network
    machine: Machine
    _behind: int = 1

    def add(self) -> Machine:
        """A machine behind it."""
        self._behind += 1
        space = self.network._opened()
        port = self.network._link(self.machine.space, space, None)
        self.machine.space.run("ip", "link", "set", port, "master", "inside", "up")
        return self.network._addressed(Machine(space, f"192.168.7.{self._behind}", port), "192.168.7.1")


@contextmanager
def network() -> Iterator[Network]:
    """A switch that nothing else leads to."""
    with ExitStack() as stack:
        switch = Namespace.open()
        stack.callback(switch.close)
        for bridge in ("whole", "away"):
            switch.run("ip", "link", "add", bridge, "type", "bridge")
            switch.run("ip", "link", "set", bridge, "up")
        yield Network(switch, stack)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
