"""What `learnae check` says about a daemon that the peer would run, or runs already: nothing is started for it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping

import attrs

from learnae import ConfigError, Problem, UnavailableError
from learnae_ipfs.managed.program import kubo
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.managed.settings import Settings
from learnae_ipfs.versions import OLDEST, RANGE, dotted, remark_on

KEY = "storage.program"
VERSION_SECONDS = 10.0
GET_KUBO = "install Kubo (https://docs.ipfs.tech/install), or name another one here or in the variable LEARNAE_KUBO"


@attrs.frozen
class Preview:
    """What a daemon of this program on this repo would be."""

    program: str | None
    repo: Repo
    settings: Settings

    def remarks(self) -> list[str]:
        """What is fine, and what is only remarkable. Raises ConfigError for what must be mended."""
        try:
            program = kubo(self.program)
        except UnavailableError as error:
            raise ConfigError(Problem(KEY, str(error))) from error
        return [self._version(program), *self._repo(), self._network()]

    def _version(self, program: str) -> str:
        with tempfile.TemporaryDirectory(prefix="learnae-check-") as empty:  # Kubo loads the plugins in its repo also to tell its version
            version = _version_of(program, {**self.repo.environment(self.settings), "IPFS_PATH": empty})
        if version is None:
            raise ConfigError(Problem(KEY, f"{program} is no Kubo: it tells no version", GET_KUBO))
        if version < OLDEST:
            raise ConfigError(Problem(KEY, f"{program} is Kubo {dotted(version)}, which is too old; {RANGE}", GET_KUBO))
        return f"a daemon of this peer's own, by {program}, Kubo {dotted(version)}{remark_on(version)}"

    def _repo(self) -> Iterator[str]:
        holder = self.repo.holder
        if holder is not None and holder != self.repo.left_over:
            what = f"the IPFS repo {self.repo.folder} is locked by process {holder}, which is no daemon of this peer's"
            raise ConfigError(Problem("storage", what, "end that process, or give this peer another home"))
        if holder is not None:
            yield f"its daemon runs as process {holder}"

    def _network(self) -> str:
        if self.settings.public:
            return "it takes part in the public IPFS network: who asks for a block, and who has it, can be seen by anybody"
        reached = ", ".join(self.settings.listen)
        if self.settings.key is None:
            return f"whoever reaches {reached} can fetch blocks from it: only a private swarm has a private network"
        return f"it is in the private network of this swarm, and listens at {reached}"


def _version_of(program: str, environment: Mapping[str, str]) -> tuple[int, ...] | None:
    try:
        command = [program, "version", "--number"]
        said = subprocess.run(
            command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=VERSION_SECONDS, check=True
        ).stdout[:100]
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.fullmatch(rb"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(-\S+)?\s*", said)
    return tuple(int(number) for number in match.groups()[:3]) if match else None
