"""The process that has torch and copies itself. Run as a script, with the descriptor of a socket; our code is not imported here.

A copy is a child of who asked, since the process that makes it is one too.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import os
import random
import runpy
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NoReturn

# What many of our programs import; nothing of ours.
PRELOADED = (
    *("torch", "torch._dynamo", "torch.optim", "torch.utils.data", "numpy", "attrs", "cattrs", "cbor2", "click", "libipld", "pluggy"),
    *("rich.console", "safetensors.numpy", "structlog", "trio", "cryptography.hazmat.primitives.asymmetric.ed25519", "sqlite3"),
)
ARGUMENTS, ENVIRONMENT = (47, 48), (49, 50)  # fields of /proc/self/stat: where they begin and end
HIGH = 400
UNWRITTEN = 120  # Python's exit code where its last words could not be written
CLONE = {"x86_64": 56, "aarch64": 220}  # the number of the system call
CLONE_PARENT = 0x8000
PR_SET_PDEATHSIG = 1


class Areas:
    """What `ps` shows of a process: its words and its environment, as long as there is room."""

    def __init__(self) -> None:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from the third on
        self._at = {which: tuple(int(fields[field - 2]) for field in which) for which in (ARGUMENTS, ENVIRONMENT)}

    def show(self, which: tuple[int, int], entries: list[str]) -> None:
        begin, end = self._at[which]
        if begin < end:
            data = b"".join(os.fsencode(entry) + b"\0" for entry in entries)[: end - begin - 1]
            ctypes.memset(begin, 0, end - begin)
            ctypes.memmove(begin, data, len(data))


def serve(theirs: socket.socket, areas: Areas) -> dict[str, Any]:
    """Returns in a copy only: what it shall run."""
    while True:
        try:
            asked, fds = client.receive(theirs)
        except OSError:
            os._exit(0)
        if not asked:
            os._exit(0)
        copy = fork_sibling()
        if copy == 0:
            theirs.close()
            _become(asked, fds, areas)
            return asked
        for fd in fds:
            os.close(fd)
        client.send(theirs, {"pid": copy})


def fork_sibling() -> int:
    """As os.fork(), but the new process is a child of our parent, who can so wait for it, and nobody else."""
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    python.PyOS_BeforeFork()
    pid = int(libc.syscall(CLONE[os.uname().machine], CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return pid


def _become(asked: dict[str, Any], fds: list[int], areas: Areas) -> None:
    os.environ.clear()
    os.environ.update(asked["environment"])
    areas.show(ENVIRONMENT, [f"{name}={value}" for name, value in os.environ.items()])
    ours, behind = None, 0
    if asked["starts_others"]:
        ours, theirs = socket.socketpair()
        behind = os.fork()
        if behind == 0:
            for fd in (*fds, ours.detach()):
                os.close(fd)
            os.setpgid(0, 0)
            asked.update({"leave": lambda: None} | serve(theirs, areas))
            return  # a copy of the copy
        theirs.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["session"]:
        os.setsid()
    if asked["ends_with_us"]:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.chdir(asked["cwd"])
    areas.show(ARGUMENTS, [sys.executable, *asked["words"]])
    keep = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH) if ours else None
    if ours:
        ours.close()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH) for fd in fds]
    os.closerange(3, HIGH)
    for number, fd in zip(asked["fds"], high, strict=True):
        os.dup2(fd, number)
        os.close(fd)
    if keep is not None:
        warm = client.WarmInterpreter(socket.socket(fileno=keep), os.environ)
        client.install(lambda: warm)

        def leave() -> None:
            warm.close()
            os.waitpid(behind, 0)

        asked["leave"] = leave
    _open_standard(bool(os.environ.get("PYTHONUNBUFFERED")))
    random.seed()
    sys.modules["numpy"].random.seed()


def _open_standard(unbuffered: bool) -> None:
    for number, name, errors in ((0, "stdin", "strict"), (1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        mode, buffering = ("wb", 0) if number and unbuffered else ("wb" if number else "rb", -1)
        raw = open(number, mode, buffering, closefd=False)  # noqa: SIM115  # open as long as the process
        lines = number == 2 or os.isatty(number)
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=lines, write_through=bool(number) and unbuffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(words: list[str], path: list[str]) -> None:
    """As Python would."""
    sys.orig_argv = [sys.executable, *words]
    safe = words[:1] == ["-P"]
    words = words[safe:]
    main = sys.modules["__main__"] = sys.modules["__mp_main__"] = types.ModuleType("__main__")  # as if multiprocessing came later
    main.__dict__["__builtins__"] = __builtins__
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        sys.path[:] = [*([] if safe else [os.getcwd()]), *path]
        runpy._run_module_as_main(words[1])  # type: ignore[attr-defined]  # what `python -m` does
    elif words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        sys.path[:] = [*([] if safe else [""]), *path]
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv[:] = words
        sys.path[:] = [*([] if safe else [os.path.dirname(os.path.realpath(words[0]))]), *path]
        main.__file__, main.__loader__ = words[0], SourceFileLoader("__main__", words[0])
        exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), main.__dict__)


def finish(words: list[str], path: list[str], leave: Callable[[], object]) -> NoReturn:
    """Run it, and end as Python does; but what is in memory is not taken apart: of torch that costs a second."""
    code, interrupted = 0, False
    try:
        run(words, path)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            sys.stderr.write(f"{end.code}\n")
    except BaseException as error:
        code, interrupted = 1, isinstance(error, KeyboardInterrupt)
        sys.excepthook(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or UNWRITTEN
    leave()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    del sys.path[0]
    base = list(sys.path)
    sys.path.insert(0, sys.argv[2])
    from tests.support.warm import client

    sys.path[:] = base
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a copy would touch, and so copy, all pages
    theirs = socket.socket(fileno=int(sys.argv[1]))
    theirs.sendall(client.READY)
    asked = serve(theirs, Areas())
    finish(asked["words"], base, asked.get("leave", lambda: None))
