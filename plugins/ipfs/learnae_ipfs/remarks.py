"""What `learnae check` says about a daemon that others run: whether it is there, does all that is asked of it, and has room."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import trio

from learnae import ConfigError, Problem, UnavailableError
from learnae.lowlevel import MEGABYTE, BadResponseError, read_file
from learnae_ipfs.answers import FORBIDDEN, MOST_BYTES, KuboAnswer, ask
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.versions import OLDEST, RANGE, dotted, remark_on

KEY = "storage.address"
ANSWER_SECONDS = 5.0
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
    ("block/rm",),
    ("refs",),
    ("swarm/connect",),
)
_PUBLIC = re.compile("/(quic-v1|webtransport|webrtc-direct)(/|$)")  # no private network has these

START = "start it: `ipfs daemon`; or leave `address` out, and Learnae runs one of its own"
NAME_ITS_RPC = "name the RPC of a daemon: `ipfs config Addresses.API` shows it"
PERMIT = (
    "Learnae sends no password: take API.Authorizations out where nobody else reaches the RPC, name a proxy that lets them pass,"
    " or leave `address` out, and Learnae runs a daemon of its own"
)
MAKE_ROOM = "make room there (`ipfs repo gc` removes all that nobody has pinned), or move its repo"
NEARLY_FULL = (
    "its storage limit is nearly reached: raise Datastore.StorageMax (`ipfs config`), or let it remove what nobody has pinned"
    " (`ipfs repo gc`, or `ipfs daemon --enable-gc`)"
)
IN_PRIVATE = "the daemon is in the private network of this swarm"
IN_ANOTHER = (
    "the daemon is in a private network with a key of its own: it meets daemons with the very same swarm.key, and none that Learnae runs"
    " by itself; `learnae ipfs swarm-key` writes the key of theirs"
)
IN_PUBLIC = (
    "the daemon is in a public network: strangers can fetch what members alone can read, and see who has it; for a network of the swarm's"
    " own, give all its daemons one swarm.key, and start them with LIBP2P_FORCE_PNET=1"
)


@attrs.frozen
class Visit:
    """One look at the daemon at this address. Raises ConfigError for what must be mended, UnavailableError if it goes away meanwhile."""

    daemon: Daemon
    address: str

    async def remarks(self, swarm_key: str | None) -> list[str]:
        """What is fine, and what is only remarkable. In a private swarm, `swarm_key` is the file that its daemons would have."""
        answers = await self._call_everything()
        space, system = await self._perhaps("repo/stat", **{"size-only": "true"}), await self._perhaps("diag/sys")
        if problems := [*self._forbidden(answers), *self._too_old(answers["version"]), *self._full(system)]:
            raise ConfigError(problems)
        network = await self._network(answers["id"], swarm_key) if swarm_key is not None else ()
        return [self._about(answers["version"]), *_room(space, system), *network]

    async def _call_everything(self) -> dict[str, KuboAnswer]:
        answers = {"version": await self._first()}
        for path, *arguments in CALLS[1:]:
            answers[path] = await self._ask(path, *arguments)
        return answers

    async def _first(self) -> KuboAnswer:
        try:
            answer = await self._ask("version")
        except UnavailableError as error:
            if isinstance(error.__cause__, BadResponseError):  # it is there, and to start another one does not help
                what = f"what answers at {self.address} does not answer as an IPFS daemon does: {error.__cause__}"
                raise ConfigError(Problem(KEY, what, NAME_ITS_RPC)) from error
            raise ConfigError(Problem(KEY, f"no IPFS daemon answers at {self.address}", START)) from error
        if answer.status not in FORBIDDEN and not answer.version:
            what = f"what answers at {self.address} is no RPC of an IPFS daemon (status {answer.status})"
            raise ConfigError(Problem(KEY, what, NAME_ITS_RPC))
        return answer

    async def _ask(self, path: str, *arguments: str, **opts: str) -> KuboAnswer:
        with trio.move_on_after(ANSWER_SECONDS):
            return await self.daemon.call(lambda line: ask(line, path, *arguments, **opts))
        raise UnavailableError(f"the IPFS daemon at {self.address} did not answer `{path}` within {ANSWER_SECONDS:.0f} s")

    async def _perhaps(self, path: str, **opts: str) -> KuboAnswer:
        """Of what is good to know; a daemon that counts a large repo may take its time."""
        try:
            return await self._ask(path, **opts)
        except UnavailableError:
            return KuboAnswer()

    def _forbidden(self, answers: Mapping[str, KuboAnswer]) -> Iterator[Problem]:
        if refused := [f"{path} ({answer.status})" for path, answer in answers.items() if not answer.allowed]:
            yield Problem(KEY, f"the IPFS daemon at {self.address} does not allow the calls {', '.join(refused)}", PERMIT)

    def _too_old(self, answer: KuboAnswer) -> Iterator[Problem]:
        if answer.version and answer.version < OLDEST:
            what = f"the IPFS daemon at {self.address} is Kubo {dotted(answer.version)}, which is too old"
            yield Problem(KEY, what, f"install a newer one; {RANGE}")

    def _full(self, system: KuboAnswer) -> Iterator[Problem]:
        free = system.number("diskinfo", "free_space")
        if free is not None and free < LEAST_FREE_BYTES:
            yield Problem(KEY, f"only {free // MEGABYTE} MiB are free on the disk of the IPFS daemon at {self.address}", MAKE_ROOM)

    def _about(self, answer: KuboAnswer) -> str:
        return f"Kubo {dotted(answer.version)} at {self.address} allows all calls that are needed{remark_on(answer.version)}"

    async def _network(self, identity: KuboAnswer, swarm_key: str) -> list[str]:
        """What can be known of it; nothing otherwise."""
        if any(map(_PUBLIC.search, identity.texts("Addresses"))):
            return [IN_PUBLIC]
        repo = (await self._perhaps("repo/stat")).text("RepoPath")
        key = await self.daemon.in_thread(_swarm_key, Path(repo), identity.text("ID")) if repo else None
        if key is None:
            return []
        return [(IN_PRIVATE if key.split() == swarm_key.split() else IN_ANOTHER) if key else IN_PUBLIC]


def _room(space: KuboAnswer, system: KuboAnswer) -> Iterator[str]:
    """How much it holds, and may."""
    size, most, free = space.number("RepoSize"), space.number("StorageMax") or NO_LIMIT, system.number("diskinfo", "free_space")
    if size is not None:
        limit = f" of at most {most // MEGABYTE:,}" if most < NO_LIMIT else ""
        disk = f"; {free // MEGABYTE:,} are free on its disk" if free is not None else ""
        yield f"it holds {size // MEGABYTE:,} MiB{limit}{disk}"
        if size > ALMOST * most:
            yield NEARLY_FULL


def _swarm_key(repo: Path, peer: str) -> str | None:
    """What the file of that name says, "" without one; None if this is no repo of this peer of IPFS on this machine, or cannot be read."""
    try:
        if json.loads(_text(repo / "config"))["Identity"]["PeerID"] != peer:
            return None
        return _text(repo / "swarm.key") if (repo / "swarm.key").exists() else ""
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):
        return None


def _text(path: Path) -> str:
    """Of a plain file, perhaps by a link: a pipe of that name would never end."""
    return read_file(path.resolve(), MOST_BYTES, links=None).decode()
