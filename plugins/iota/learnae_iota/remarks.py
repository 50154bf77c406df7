"""What `learnae check` says about the nodes: whether they are there, do all that is asked of them, and fit the options."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio

from learnae import ConfigError, Context, Problem, UnavailableError
from learnae.lowlevel import sanitize
from learnae_iota.building import LIGHT_WEIGHT, Builder
from learnae_iota.line import NodeApi, NodeNonsenseError, NodeRefusedError
from learnae_iota.node import TangleNode
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.transactions import NOTHING

NODES, WEIGHT, WORK, FEED = (f"announcer.{key}" for key in ("nodes", "weight_magnitude", "proof_of_work", "feed"))
FORBIDDEN = (401, 403)
TESTED = "0.5.6"
FEED_SECONDS = 2.0
CLOCK_SECONDS = 30.0  # what announcers bear between two nodes is more, and not much
HEAVY_WEIGHT = 9  # from here Python takes many seconds

START = "start it, or name another one; `learnae iota devnet FOLDER` runs some on this machine"
NAME_A_HORNET = "name the HTTP API of a Hornet 0.5"
PERMIT = "add them to httpAPI.permitRemoteAccess of the node, and let it ask for no password"
SET_CLOCKS = "let both machines set their clocks by NTP: peers whose clocks differ by more than 100 s do not hear each other"
INSTALL_POW = 'type `pip install --no-deps pyota-pow`, or let the node do it: proof_of_work = "node"'
SERVE_FEED = "enable the plugin `zmq` of the node, or leave `feed` out: looking serves as well"

# Without what it is about, a call does nothing but answer or complain.
_CALLS: dict[str, dict[str, Any]] = {
    "findTransactions": {"addresses": [NOTHING], "maxresults": 1},
    "getTrytes": {"hashes": []},
    "getTransactionsToApprove": {"depth": 3},
    "broadcastTransactions": {"trytes": []},
}


@attrs.define
class Remarks:
    """Of one announcer that need not be entered."""

    options: IotaAnnouncerOptions
    context: Context
    fine: list[str] = attrs.field(factory=list)
    gone: list[Problem] = attrs.field(factory=list)
    problems: list[Problem] = attrs.field(factory=list)

    async def collect(self) -> Sequence[str]:
        """What is fine. Raises ConfigError with all that must be mended; a node that is gone is no harm while another one works."""
        builder = await self.context.in_thread(Builder.load, self.options.weight_magnitude)
        async with trio.open_nursery() as nursery:
            for address in dict.fromkeys(self.options.nodes):
                nursery.start_soon(self._visit, address)
        self.problems.extend([*self._about_work(builder), *await self._about_feed()])
        if self.problems or not self.fine:
            raise ConfigError([*self.gone, *self.problems])
        return [*self.fine, *(f"{problem.message}; the others are used" for problem in self.gone)]

    async def _visit(self, address: str) -> None:
        node = TangleNode(address, self.options.silence_seconds, self.context.in_thread)
        try:
            fine, problems = await node.call(self._look)
        except UnavailableError as error:
            self._note_failure(address, error)
        else:
            self.fine += fine
            self.problems += problems
        finally:
            node.close()

    def _note_failure(self, address: str, error: UnavailableError) -> None:
        cause = error.__cause__
        if isinstance(cause, NodeNonsenseError):
            self.problems.append(Problem(NODES, f"what answers at {address} is no node: {cause}", NAME_A_HORNET))
        elif isinstance(cause, NodeRefusedError) and cause.status in FORBIDDEN:
            self.problems.append(Problem(NODES, f"the node at {address} does not permit getNodeInfo", PERMIT))
        else:
            self.gone.append(Problem(NODES, f"no node answers at {address}: {cause}", START))

    def _look(self, line: NodeApi) -> tuple[list[str], list[Problem]]:
        info = line.ask("getNodeInfo")
        refusals = {command: _refusal(line, command, **arguments) for command, arguments in _CALLS.items()}
        work = _refusal(line, "attachToTangle", trytes=[], minWeightMagnitude=self.options.weight_magnitude)
        problems = [*_clock(line), *_forbidden(line, refusals), *self._weight(line, work)]
        return [] if problems else list(_about(line, info, tips=refusals["getTransactionsToApprove"] is None)), problems

    def _weight(self, line: NodeApi, refusal: NodeRefusedError | None) -> Iterator[Problem]:
        """A node that permits `attachToTangle` tells when the weight is another one."""
        if refusal is not None and refusal.status in FORBIDDEN:
            if self.options.proof_of_work == "node":
                yield Problem(WORK, f"the node at {line.address} does not permit attachToTangle", f'{PERMIT}; or write "local"')
        elif refusal is not None and "Wrong MinWeightMagnitude" in str(refusal):
            yield Problem(WEIGHT, f"is not that of the node at {line.address}: {refusal}", "write what it expects")

    def _about_work(self, builder: Builder) -> Iterator[Problem]:
        weight = self.options.weight_magnitude
        if self.options.proof_of_work == "local" and weight >= HEAVY_WEIGHT and builder.search is None:
            yield Problem(WORK, f"a weight of {weight} takes this machine very long: pyota-pow is missing, or not made for it", INSTALL_POW)
        elif self.options.proof_of_work == "local":
            by = "in C" if weight > LIGHT_WEIGHT and builder.search else "in Python"
            self.fine.extend([f"the proof of work is done here, {by}"] if self.fine else [])

    async def _about_feed(self) -> list[Problem]:
        if self.options.feed is None:
            return []
        try:
            await self.context.in_thread(_connect, self.options.feed)
        except OSError as error:
            return [Problem(FEED, f"nobody serves a feed at {self.options.feed}: {error}", SERVE_FEED)]
        return []


def _refusal(line: NodeApi, command: str, **arguments: Any) -> NodeRefusedError | None:
    try:
        line.ask(command, **arguments)
    except NodeRefusedError as refusal:
        return refusal
    return None


def _forbidden(line: NodeApi, refusals: dict[str, NodeRefusedError | None]) -> Iterator[Problem]:
    if names := [command for command, refusal in refusals.items() if refusal is not None and refusal.status in FORBIDDEN]:
        yield Problem(NODES, f"the node at {line.address} does not permit {', '.join(names)}", PERMIT)


def _clock(line: NodeApi) -> Iterator[Problem]:
    if abs(line.ahead_seconds) > CLOCK_SECONDS:
        way = "ahead of" if line.ahead_seconds > 0 else "behind"
        yield Problem(
            NODES, f"the clock of the node at {line.address} is {abs(line.ahead_seconds):,.0f} s {way} this machine's", SET_CLOCKS
        )


def _about(line: NodeApi, info: dict[str, object], *, tips: bool) -> Iterator[str]:
    name, version = (sanitize(str(info.get(key)), 20) for key in ("appName", "appVersion"))
    tested = "" if version == TESTED else f", where {TESTED} was tested,"
    yield f"{name} {version}{tested} at {line.address} permits all calls that are needed"
    if not tips:
        yield f"{line.address} has no fresh milestones, and chooses no parents: announcements name recent ones of the swarm"


def _connect(feed: str) -> None:
    parts = urlsplit(feed)
    socket.create_connection((parts.hostname or "", parts.port or 0), FEED_SECONDS).close()
