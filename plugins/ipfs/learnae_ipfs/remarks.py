"""What `learnae check` says about a daemon that others run: whether it is there, does all that is asked of it, and has room."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio
from ipfshttpclient.exceptions import StatusError

from learnae import ConfigError, Problem, Unavailable
from learnae.records import MEGABYTE
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import Line

OLDEST = (0, 38)  # before it, the names of pins were not told reliably
NEWEST_TESTED = (0, 38, 2)
RANGE = "0.38 to 0.38.2 were tested"

KEY = "storage.address"
ANSWER_SECONDS = 5.0
MOST_BYTES = MEGABYTE
LEAST_FREE_BYTES = 64 * MEGABYTE
ALMOST = 0.9  # of a storage limit: where Kubo begins to collect garbage, if it does
NO_LIMIT = 1 << 60

# All that the storage calls. Without what it is about, a call does nothing but complain; only one would list everything.
CALLS: tuple[tuple[str, ...], ...] = (
    ("version",),
    ("id",),
    ("dag/import",),
    ("pin/add",),
    ("pin/ls", "bafkqaaa"),
    ("pin/rm",),
    ("block/get",),
    ("swarm/connect",),
)
COMPLAINTS = (400, 500)
FORBIDDEN = (401, 403)
_PUBLIC = re.compile("/(quic-v1|webtransport|webrtc-direct)(/|$)")  # no private network has these

START = "start it: `ipfs daemon`; or leave `address` out, and Learnae runs one of its own"
NAME_ITS_RPC = "name the RPC of a daemon: `ipfs config Addresses.API` shows it"
PERMIT = (
    "Learnae sends no password: take API.Authorizations out where nobody else reaches the RPC, name a proxy that lets them pass,"
    " or leave `address` out, and Learnae runs a daemon of its own"
)
OF_ITS_OWN = "for a network of the swarm's own, give all its daemons one swarm.key, and start them with LIBP2P_FORCE_PNET=1"


@attrs.frozen
class Answer:
    """The HTTP status of a call, and the JSON object that came, if one did."""

    status: int
    found: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def allowed(self) -> bool:
        return self.status == 200 or self.status in COMPLAINTS

    def number(self, *keys: str) -> int | None:
        """What stands there, if it is a number."""
        value: Any = self.found
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, int) else None


@attrs.frozen
class Visit:
    """One look at the daemon at this address. Raises ConfigError for what must be mended, Unavailable if it goes away meanwhile."""

    daemon: Daemon
    address: str

    async def remarks(self, *, private: bool) -> list[str]:
        """What is fine, and what is only remarkable. `private` is the swarm."""
        answers = await self._call_everything()
        space, system = await self._ask("repo/stat", **{"size-only": "true"}), await self._ask("diag/sys")
        if problems := [*self._forbidden(answers), *self._too_old(answers), *self._full(system)]:
            raise ConfigError(problems)
        network = [await self._network(answers["id"])] if private else []
        return [self._about(_version(answers["version"])), *_room(space, system), *filter(None, network)]

    async def _call_everything(self) -> dict[str, Answer]:
        answers = {"version": await self._first()}
        for path, *arguments in CALLS[1:]:
            answers[path] = await self._ask(path, *arguments)
        return answers

    async def _first(self) -> Answer:
        try:
            answer = await self._ask("version")
        except Unavailable as error:
            raise ConfigError(Problem(KEY, f"no IPFS daemon answers at {self.address}", START)) from error
        if answer.status not in FORBIDDEN and _version(answer) is None:
            what = f"what answers at {self.address} is no RPC of an IPFS daemon (status {answer.status})"
            raise ConfigError(Problem(KEY, what, NAME_ITS_RPC))
        return answer

    async def _ask(self, path: str, *arguments: str, **opts: str) -> Answer:
        with trio.move_on_after(ANSWER_SECONDS):
            return await self.daemon.call(lambda line: _answer(line, path, arguments, opts))
        raise Unavailable(f"the IPFS daemon at {self.address} did not answer `{path}` within {ANSWER_SECONDS:.0f} s")

    def _forbidden(self, answers: Mapping[str, Answer]) -> Iterator[Problem]:
        if refused := [f"{path} ({answer.status})" for path, answer in answers.items() if not answer.allowed]:
            yield Problem(KEY, f"the IPFS daemon at {self.address} does not allow the calls {', '.join(refused)}", PERMIT)

    def _too_old(self, answers: Mapping[str, Answer]) -> Iterator[Problem]:
        version = _version(answers["version"])
        if version is not None and version[:2] < OLDEST:
            yield Problem(
                KEY, f"the IPFS daemon at {self.address} is Kubo {_dotted(version)}, which is too old", f"install a newer one; {RANGE}"
            )

    def _full(self, system: Answer) -> Iterator[Problem]:
        free = system.number("diskinfo", "free_space")
        if free is not None and free < LEAST_FREE_BYTES:
            what = f"only {free // MEGABYTE} MiB are free on the disk of the IPFS daemon at {self.address}"
            yield Problem(KEY, what, "make room there (`ipfs repo gc` removes all that nobody has pinned), or move its repo")

    def _about(self, version: tuple[int, ...] | None) -> str:
        newer = f"; it is newer than what is known to work: {RANGE}" if (version or ()) > NEWEST_TESTED else ""
        return f"Kubo {_dotted(version or ())} at {self.address} allows all calls that are needed{newer}"

    async def _network(self, identity: Answer) -> str | None:
        """What can be known of it; nothing otherwise."""
        public = any(_PUBLIC.search(str(address)) for address in identity.found.get("Addresses") or ())
        if not public:
            with trio.move_on_after(ANSWER_SECONDS):
                repo = await self._ask("repo/stat")
                key = await self.daemon.in_thread(_has_swarm_key, str(repo.found.get("RepoPath", "")), identity.found.get("ID"))
                if key:
                    return "the daemon is in a private network, as it has a swarm.key"
                public = key is False
        if not public:
            return None
        return f"the daemon is in a public network: strangers can fetch what members alone can read, and see who has it; {OF_ITS_OWN}"


def _answer(line: Line, path: str, arguments: tuple[str, ...], opts: Mapping[str, str]) -> Answer:
    try:
        data = line.read(path, *arguments, most=MOST_BYTES, **opts)
    except StatusError as error:
        return Answer(error.original.response.status_code)
    try:
        found = json.loads(data or b"")
    except (ValueError, RecursionError):
        found = None
    return Answer(200, found if isinstance(found, dict) else {})


def _version(answer: Answer) -> tuple[int, ...] | None:
    match = re.match(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", str(answer.found.get("Version", "")))
    return tuple(int(number or 0) for number in match.groups()) if match else None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _room(space: Answer, system: Answer) -> Iterator[str]:
    """How much it holds, and may."""
    size, most, free = space.number("RepoSize"), space.number("StorageMax"), system.number("diskinfo", "free_space")
    if size is None:
        return
    limit = f" of at most {most // MEGABYTE:,}" if most is not None and 0 < most < NO_LIMIT else ""
    disk = f"; {free // MEGABYTE:,} are free on its disk" if free is not None else ""
    yield f"it holds {size // MEGABYTE:,} MiB{limit}{disk}"
    if limit and most is not None and size > ALMOST * most:
        yield (
            "its storage limit is nearly reached: raise Datastore.StorageMax (`ipfs config`), or let it remove what nobody has pinned"
            " (`ipfs repo gc`, or `ipfs daemon --enable-gc`)"
        )


def _has_swarm_key(repo: str, peer: object) -> bool | None:
    """Whether there is one in the daemon's repo; None where that is not on this machine, or cannot be read."""
    if not repo or not peer:
        return None
    try:
        with (Path(repo) / "config").open("rb") as file:
            config = json.loads(file.read(MOST_BYTES))
        if config["Identity"]["PeerID"] != peer:
            return None
        return (Path(repo) / "swarm.key").exists()
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
