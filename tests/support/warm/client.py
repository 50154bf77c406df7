"""Asks a process that has torch for a copy of itself, where Python would be started that imports torch first.

An import of torch takes 3 s of CPU, with an optimizer 6; a copy takes 0.02. It is a process like any other: a child of who starts it, with
its own command line, environment, folder and descriptors, and it imports our code itself. Behind one that starts others stands a process
that copies itself for these.

What is unusual is started as it always was: other options of Python, other variables for it, other users.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
HEAVY_MODULES = frozenset({"learnae.demo.model", "learnae.demo.peer"})
HEAVY_COMMANDS = frozenset({"demo", "run"})
STARTING_FOLDERS = frozenset({"bench", "flights"})
WITH_PARENT = ["--pdeathsig", "TERM", "--"]
IMPORTS_TORCH = re.compile(r"^\s*(?:import|from) torch\b", re.MULTILINE)
LENGTH = struct.Struct("!I")
READY = b"r"
MOST_DESCRIPTORS = 64
MOST_BYTES = 1 << 22


class WarmInterpreter:
    """A way to ask a process that has torch, from the process that it belongs to."""

    def __init__(self, ours: socket.socket, environment: Mapping[str, str]) -> None:
        self._ours, self._owner, self._lock = ours, (os.getpid(), os.getuid(), os.geteuid()), threading.Lock()
        self._options = _options(environment)

    def start(
        self, words: Sequence[str], *, cwd: str, environment: Mapping[str, str], fds: Mapping[int, int], session: bool, ends_with_us: bool
    ) -> int | None:
        """The process that runs these words, or None where it cannot be made in this way. `fds`: ours, by their number there."""
        if (os.getpid(), os.getuid(), os.geteuid()) != self._owner or _options(environment) != self._options:
            return None
        asked = {"words": list(words), "cwd": cwd, "environment": dict(environment), "fds": list(fds), "session": session}
        asked["starts_others"], asked["ends_with_us"] = _starts_others(words), ends_with_us
        with self._lock:
            try:
                send(self._ours, asked, fds.values())
                answer, _ = receive(self._ours)
            except BaseException as error:  # an interrupt as well: the answer would be taken for the next one's
                self.close()
                if not isinstance(error, OSError):
                    raise
                return None
        return answer["pid"] if answer.get("pid", 0) > 0 else None

    def close(self) -> None:
        """From now on it makes no process; the one behind it ends."""
        self._owner = (0, 0, 0)
        self._ours.close()


def install(warm: Callable[[], WarmInterpreter | None]) -> None:
    """From now on `subprocess` asks it for programs that import torch."""
    really: Any = subprocess._fork_exec  # type: ignore[attr-defined]  # no stub names it

    def fork_exec(args: Sequence[Any], executables: Any, close_fds: bool, keep: Sequence[int], cwd: Any, env: Any, *rest: Any) -> int:
        in_from, _, _, out_to, _, errors_to, _, failure, signals, session, group, gid, gids, uid, umask, preexec, *_ = rest
        plain = close_fds and signals and group == -1 and (gid, gids, uid, preexec) == (None, None, None, None) and umask == -1
        words = [os.fsdecode(word) for word in args]
        ends_with_us = words[1:4] == WITH_PARENT and Path(words[0]).name == "setpriv"
        folder, environment = os.fsdecode(cwd or os.getcwd()), dict(os.environ)
        if env is not None:
            environment = dict(os.fsdecode(entry).split("=", 1) for entry in env)
        heavy = python_words(words[4 * ends_with_us :], environment)
        if plain and heavy and os.path.isdir(folder) and _needs_torch(heavy, folder):
            standard = {0: in_from, 1: out_to, 2: errors_to}
            fds = {number: number if ours == -1 else ours for number, ours in standard.items()} | {fd: fd for fd in keep if fd != failure}
            chosen, how = warm() if all(map(_is_open, fds.values())) else None, {"session": session, "ends_with_us": ends_with_us}
            if chosen and (pid := chosen.start(heavy, cwd=folder, environment=environment, fds=fds, **how)):
                return pid
        return int(really(args, executables, close_fds, keep, cwd, env, *rest))

    subprocess._fork_exec = fork_exec  # type: ignore[attr-defined]  # the one place through which each way to start a program goes


def python_words(words: Sequence[str], environment: Mapping[str, str]) -> list[str] | None:
    """What is given to this Python, if it is this one, by its own name or by the command `learnae` beside it."""
    programs = Path(sys.executable).parent
    program = words[0] if os.path.isabs(words[0]) else shutil.which(words[0], path=environment.get("PATH")) or ""
    if Path(program).parent != programs:
        return None
    if Path(program).name == "learnae":
        return [program, *words[1:]]
    return list(words[1:]) if Path(program).name.startswith("python") else None


def _needs_torch(words: Sequence[str], cwd: str) -> bool:
    match [word for word in words[:1] if word != "-P"] + list(words[1:]):
        case ["-m", "learnae", command, *_]:
            return command in HEAVY_COMMANDS
        case ["-c", code, *_]:
            return bool(IMPORTS_TORCH.search(code))
        case [path, module, *_] if path.endswith("learnae/launch.py"):
            return module in HEAVY_MODULES
        case [path, *more] if Path(path).name == "learnae":
            return bool(more) and more[0] in HEAVY_COMMANDS
        case [path, *_] if path.endswith(".py"):
            with contextlib.suppress(OSError, ValueError):
                return (ROOT / "bench").samefile(Path(cwd, path).parent) or bool(IMPORTS_TORCH.search(Path(cwd, path).read_text()))
    return False


def _starts_others(words: Sequence[str]) -> bool:
    """Whether it is a program that starts others that import torch."""
    program = next((word for word in words if word.endswith(".py")), "")
    return "demo" in words[1:4] or (Path(program).parent.name in STARTING_FOLDERS and Path(program).name != "worker.py")


def _options(environment: Mapping[str, str]) -> dict[str, str | None]:
    """What a Python reads before its first line, and torch while it is imported."""
    own = {
        name: value for name, value in environment.items() if name.startswith(("PYTHON", "LC_", "LANG", "OMP_", "MKL_", "TORCH_", "LD_"))
    }
    return {
        **own,
        "PYTHONUNBUFFERED": None,
        "OPENBLAS_NUM_THREADS": None,
        "MKL_NUM_THREADS": None,
    }  # the first is done by hand, the others say what OMP says


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def send(to: socket.socket, message: Mapping[str, Any], fds: Iterable[int] = ()) -> None:
    """Raises OSError."""
    data = json.dumps(message).encode()
    socket.send_fds(to, [LENGTH.pack(len(data))], list(fds))
    to.sendall(data)


def receive(of: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and the descriptors that came with it; an empty one after the end. Raises OSError."""
    head, fds, _, _ = socket.recv_fds(of, LENGTH.size, MOST_DESCRIPTORS)
    if len(head) < LENGTH.size:
        return {}, fds
    left, data = min(LENGTH.unpack(head)[0], MOST_BYTES), b""
    while len(data) < left:
        if not (piece := of.recv(left - len(data))):
            return {}, fds
        data += piece
    return dict(json.loads(data)), fds
