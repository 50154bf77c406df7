"""What `learnae check` looks at for this plugin: the library, the ports, the peers that the file names. Each with its remedy.

This module is light: the library comes with the check.
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import trio

from learnae import ConfigError, Context, Problem, UnavailableError
from learnae.lowlevel import libraries_logged
from learnae_libp2p.addresses import Address, parse_address
from learnae_libp2p.host import EVERYWHERE, INSTALL, LIBRARIES, Libp2pHost
from learnae_libp2p.options import HostOptions

PEER_SECONDS = 6.0
PROBED_AT_ONCE = 8
MOST_OBSERVERS = 3  # who are asked where they see this machine
MOST_SHOWN = 4  # addresses in one line
MOST_LINES = 16  # about peers
DEEPEST = 8  # causes of causes
SILENT = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}
FINE = "that is fine for the first peer that is started"
START = "start that peer, or write the port that `learnae run` shows there"
LET_THROUGH = "let its port through its firewall, or write the address that `learnae run` shows there"


@attrs.frozen
class _Missing:
    """A peer that does not answer."""

    why: str
    remedy: str


class HostCheck:
    """Made by `context.share`: one check for all strategies of a peer, since there is one host. It listens nowhere and starts nothing."""

    def __init__(self) -> None:
        self._done = False

    async def check(self, table: str, host: Libp2pHost, context: Context) -> Sequence[str | Problem]:
        """A line for each thing that is fine, a Problem for what may be. `table` is the one of the file that asks; what is told names
        the one that has the key. Raises ConfigError for all that is not fine.
        """
        if self._done:
            return ()
        self._done = True
        with libraries_logged(context.log, *LIBRARIES):
            return await self._look(table, host, context)

    async def _look(self, table: str, host: Libp2pHost, context: Context) -> Sequence[str | Problem]:
        try:
            probing = await context.in_thread(importlib.import_module, "learnae_libp2p.probing")
        except ImportError as error:
            raise ConfigError(Problem(f"{table}.use", f"libp2p is installed, and cannot be used: {error}"[:300], INSTALL)) from error
        problems: list[Problem] = []
        listen, peers = (f"{host.tables.get(key, table)}.{key}" for key in ("listen", "peers"))
        lines: list[str | Problem] = [f"libp2p {probing.VERSION}"]
        if host.running is None:  # else the ports are its own
            lines += await context.in_thread(_listening, host.options, listen, probing, problems)
        answering: list[Address] = []
        lines += await _peers(host.options.peers, peers, probing.Probe(host.options.interface), problems, answering)
        if host.running is None and answering and not problems:
            here = probing.narrowed([parse_address((*host.options.listen, EVERYWHERE)[0])], host.options.interface)[0]
            lines += await _outside(answering, here, listen, context)
        if not host.options.peers and not host.options.mdns:
            message = "nobody is named, and nobody is looked for: others must name this peer, or it stays alone"
            lines.append(Problem(peers, message, f"name one of them, or leave {host.tables.get('mdns', table)}.mdns out"))
        if problems:
            raise ConfigError(problems)
        return lines


def _listening(options: HostOptions, key: str, probing: Any, problems: list[Problem]) -> list[str]:
    """Where it would listen. In a thread, as names of interfaces are looked up."""
    lines: list[str] = []
    try:
        addresses = probing.narrowed([parse_address(text) for text in options.listen or (EVERYWHERE,)], options.interface)
    except UnavailableError as error:
        problems.append(Problem(f"{key.partition('.')[0]}.interface", str(error), f"there are: {', '.join(probing.interfaces())}"))
        return lines
    for address in addresses:
        try:
            probing.claim(address)
        except UnavailableError as error:
            problems.append(Problem(key, str(error), remedy_for(address, error)))
            continue
        found = probing.reachable(address)
        places = [one.place for one in [one for one in found if not one.local] or found]
        shown = ", ".join(places[:MOST_SHOWN]) + (f" and {len(places) - MOST_SHOWN} more" if len(places) > MOST_SHOWN else "")
        if address.port:
            lines.append(f"{address} is free, and others dial {shown}; `learnae run` tells the whole address")
        else:
            lines.append(f"any free port of {shown.replace('/tcp/0', '')}; with one of its own it is found again after a restart")
    return lines


def remedy_for(address: Address, error: UnavailableError) -> str:
    """For what `sockets.claim` raises."""
    number = getattr(error.__cause__, "errno", None)
    if number == errno.EADDRINUSE:
        return "end what listens there, such as another run of this peer, or write another port"
    if number == errno.EADDRNOTAVAIL:
        return f"this machine does not have it: write /{address.kind}/{'::' if address.kind == 'ip6' else '0.0.0.0'}/tcp/{address.port}"
    if number == errno.EACCES:
        return "ports below 1024 are for the administrator: write another one"
    return "write another address"


async def _outside(answering: Sequence[Address], here: Address, key: str, context: Context) -> list[str | Problem]:
    """What those who answer see of this machine from outside. They dial it while this looks."""
    looking = await context.in_thread(importlib.import_module, "learnae_libp2p.looking")
    look = looking.OutsideLook(context.secret("libp2p"), context.channel)
    try:
        seen = await look.seen_by(answering[:MOST_OBSERVERS], here)
    except OSError as error:
        return [f"whether others can dial this peer was not looked at: {error}"[:300]]
    if not seen.every:
        return []
    return [Problem(key, seen.in_words, seen.remedy) if seen.remedy else seen.in_words]


async def _peers(named: Sequence[str], key: str, probe: Any, problems: list[Problem], answering: list[Address]) -> list[str | Problem]:
    """Who answers, of each also at which address. A problem where somebody else does, a warning where nobody does: the first is alone."""
    addresses: dict[str, list[Address]] = {}
    for address in map(parse_address, named):
        if address.peer is not None:
            addresses.setdefault(address.peer, []).append(address)
    found: dict[str, _Missing | None] = {}
    limit = trio.CapacityLimiter(PROBED_AT_ONCE)

    async def ask(peer: str) -> None:
        async with limit:
            found[peer] = await _why_not(probe, peer, addresses[peer], key, problems, answering)

    async with trio.open_nursery() as nursery:
        for peer in addresses:
            nursery.start_soon(ask, peer)
    missing = {peer: away for peer in addresses if (away := found[peer]) is not None}
    alone = len(missing) == len(addresses) and not problems  # a problem is said by itself
    fine = f"; {FINE}" if alone and len(missing) == 1 else ""
    lines: list[str | Problem] = [f"{peer} answers" for peer in addresses if found[peer] is None]
    lines += [Problem(key, f"{peer} does not answer now: {away.why}"[:300] + fine, away.remedy) for peer, away in missing.items()]
    del lines[MOST_LINES:]
    if alone and len(missing) > 1:
        lines.append(Problem(key, f"none of {len(missing)} answers now: {FINE}", "else start one of them"))
    return lines


async def _why_not(
    probe: Any, peer: str, addresses: Sequence[Address], key: str, problems: list[Problem], answering: list[Address]
) -> _Missing | None:
    """None where this peer answers at one of its addresses."""
    away: _Missing | None = None
    with trio.move_on_after(PEER_SECONDS):
        for address in addresses:
            with trio.move_on_after(PEER_SECONDS / len(addresses)):
                try:
                    other = await probe.who_answers(address)
                except (UnavailableError, OSError) as error:
                    away = _told(address, error)
                    continue
                if other == peer:
                    answering.append(address)
                    return None
                problems.append(
                    Problem(
                        key, f"at {address.place} somebody else answers: {other}", "write the name of who is there, or where this peer is"
                    )
                )
                return _Missing("somebody else answers there", "write where it is now")
            away = away or _Missing(f"{address.place} says nothing", LET_THROUGH)
    return away or _Missing("it says nothing", LET_THROUGH)


def _told(address: Address, error: Exception) -> _Missing:
    numbers = set(_numbers(error))
    if errno.ECONNREFUSED in numbers:
        return _Missing(f"{address.place} is refused, so nobody listens there", START)
    if numbers & SILENT:
        return _Missing(f"no answer from {address.place}", LET_THROUGH)
    return _Missing(f"{address.place}: {error}", "see who listens there, and write where this peer is")


def _numbers(error: BaseException | None, deep: int = 0) -> Iterator[int]:
    """Those of the system, of all that has led to this."""
    if error is None or deep > DEEPEST:
        return
    if isinstance(error, OSError) and error.errno is not None:
        yield error.errno
    for one in (error.__cause__, *(error.exceptions if isinstance(error, BaseExceptionGroup) else ())):
        yield from _numbers(one, deep + 1)
