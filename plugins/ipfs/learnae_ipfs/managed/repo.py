"""The folder of a daemon's own: blocks, keys and configuration, and the lock that one daemon at a time holds."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

from learnae import UnavailableError
from learnae.lowlevel import open_file, read_file, sanitize, save_file
from learnae_ipfs.managed import rpc
from learnae_ipfs.managed.settings import Settings

INIT_SECONDS = 20.0
MOST_BYTES = 1 << 20  # of a file that is read; a configuration takes some kilobytes
_PASSED = {"PATH", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
_FLOCK = "qqihh" if sys.platform == "darwin" else "hhqqi"


@attrs.frozen
class Repo:
    """Everything in `folder` belongs to the peer in whose home it lies."""

    folder: Path

    def prepare(self, program: str, settings: Settings) -> None:
        """Make it where it is not yet, and let the daemon know the settings. Raises UnavailableError."""
        try:
            if not os.path.lexists(self._config):
                self._init(program, settings)
            rpc.close_to_others(self.folder)
            config = json.loads(self._read(self._config))
            path = rpc.socket_for(self.folder, _socket_in(config))
            if (applied := settings.applied(config, f"/unix{path}")) != config:
                self._write(self._config, json.dumps(applied, indent=2))
            self._set_swarm_key(settings.swarm_key)
            self._api.unlink(missing_ok=True)
            path.unlink(missing_ok=True)  # of a daemon that was killed: the next one could not listen there
        except (OSError, ValueError, RecursionError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"the IPFS repo {self.folder} cannot be prepared: {_cause(error)}") from error

    def leave(self) -> None:
        """Its daemon has ended: what was made for its socket outside of the repo goes."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if (path := _socket_in(json.loads(self._read(self._config)))) is not None:
                rpc.clear(path)

    def claim(self) -> int | None:
        """A lock's descriptor: its holder alone starts and ends a daemon. None while that is somebody else. Raises UnavailableError."""
        try:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = open_file(self.folder.with_name(f"{self.folder.name}.lock"), os.O_RDWR | os.O_CREAT, owners={os.geteuid()})
        except OSError as error:
            raise UnavailableError(f"the IPFS repo {self.folder} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    @property
    def address(self) -> str | None:
        """Of the RPC of the daemon that runs on it; None while none does."""
        try:
            return self._read(self._api).strip() or None
        except (OSError, ValueError):
            return None

    @property
    def holder(self) -> int | None:
        """The process that has it locked."""
        try:
            with os.fdopen(open_file(self.folder / "repo.lock", os.O_RDWR), "rb+") as file:
                asked = struct.pack(_FLOCK, *_whole_file(fcntl.F_WRLCK))
                told = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
        except OSError:
            return None
        pid, kind = (told[2], told[3]) if sys.platform == "darwin" else (told[4], told[0])
        return pid if kind != fcntl.F_UNLCK else None

    def remember_daemon(self) -> None:
        """So that the next start can tell a daemon that was left over from anything else that uses the repo."""
        self._write(self._pid, str(self.holder or ""))

    @property
    def left_over(self) -> int | None:
        """A daemon of an earlier run that still holds the repo."""
        try:
            holder = self.holder
            return holder if holder is not None and self._read(self._pid) == str(holder) else None
        except (OSError, ValueError):
            return None

    def environment(self, settings: Settings) -> dict[str, str]:
        """Little of this process's own, which may hold the swarm's key. No program is looked for in the folder of work: see `kubo`."""
        passed = {name: value for name, value in os.environ.items() if name.upper() in _PASSED}
        path = [entry for entry in passed.get("PATH", "").split(os.pathsep) if os.path.isabs(entry)]
        passed["PATH"] = os.pathsep.join(path) or os.defpath
        ours = {"IPFS_PATH": str(self.folder), "IPFS_TELEMETRY": "off", "GOLOG_LOG_LEVEL": "error"}
        forced = {"LIBP2P_FORCE_PNET": "1"} if settings.key else {}
        return {**passed, **ours, **forced}

    def _init(self, program: str, settings: Settings) -> None:
        """Whole or not at all: one that a crash has left half made would never start."""
        draft = attrs.evolve(self, folder=self.folder.with_name(f"{self.folder.name}.new"))
        shutil.rmtree(draft.folder, ignore_errors=True)
        draft.folder.mkdir(mode=0o700, parents=True)
        command, environment = [program, "init", "--empty-repo", "--profile=test"], draft.environment(settings)
        subprocess.run(command, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=INIT_SECONDS)
        draft.folder.rename(self.folder)

    def _set_swarm_key(self, text: str | None) -> None:
        if text is None:
            self._swarm_key.unlink(missing_ok=True)
        else:
            self._write(self._swarm_key, text)

    def _read(self, path: Path) -> str:
        """A daemon writes there too, and a repo may have come from anywhere. Raises OSError, ValueError."""
        return read_file(path, MOST_BYTES).decode()

    def _write(self, path: Path, text: str) -> None:
        save_file(path, text.encode())

    @property
    def _config(self) -> Path:
        return self.folder / "config"

    @property
    def _swarm_key(self) -> Path:
        return self.folder / "swarm.key"

    @property
    def _api(self) -> Path:
        return self.folder / "api"

    @property
    def _pid(self) -> Path:
        return self.folder / "daemon.pid"


def _socket_in(config: Any) -> Path | None:
    return rpc.path_of(config.get("Addresses", {}).get("API"))


def _whole_file(kind: int) -> tuple[int, ...]:
    return (0, 0, 0, kind, os.SEEK_SET) if sys.platform == "darwin" else (kind, os.SEEK_SET, 0, 0, 0)


def _cause(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return sanitize(error.stderr.decode(errors="replace")) or str(error)
    return str(error)
