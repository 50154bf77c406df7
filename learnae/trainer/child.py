"""One process of a node: how it is started, what it says before it speaks over its link, and its end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

import attrs

from learnae.launch import LINK_OPTION, STDERR_OPTION
from learnae.link import memory

LEAVE_SECONDS = 5.0  # for the goodbye
TERMINATE_SECONDS = 2.0
WORDS = 4000  # bytes of what it says


@attrs.define
class Child:
    """What it writes to stdout and stderr is kept here until it has opened its link; from then on that goes where ours goes."""

    process: subprocess.Popen[bytes]
    _early: int

    @classmethod
    def start(cls, command: Sequence[str], link: socket.socket, fds: Sequence[int]) -> Self:
        """It inherits the link and the descriptors. Raises OSError."""
        early = memory.scratch()
        stderr = _stderr()
        words = [*command, LINK_OPTION, str(link.fileno()), STDERR_OPTION, str(stderr)]
        inherited = (link.fileno(), stderr, *fds)
        try:
            process = subprocess.Popen(
                words, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=early, stderr=early, start_new_session=True
            )
        except BaseException:
            os.close(early)
            raise
        finally:
            os.close(stderr)
        return cls(process, early)

    def said(self) -> str:
        """The last of what it wrote before its link was open."""
        size = os.fstat(self._early).st_size
        return os.pread(self._early, WORDS, max(0, size - WORDS)).decode(errors="replace").strip()

    def reap(self) -> int:
        """Its exit code, as soon as it has ended; it is made to, within a few seconds."""
        for end, seconds in ((None, LEAVE_SECONDS), (self.process.terminate, TERMINATE_SECONDS)):
            if end:
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(seconds)
        self.process.kill()
        return self.process.wait()

    def close(self) -> None:
        os.close(self._early)


def fill_standard() -> None:
    """Where descriptor 0, 1 or 2 is closed, the next file would get its number, and a child would write its log into it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _stderr() -> int:
    """Ours, for the child; nothing, where it was closed, and its number may be that of any file by now."""
    if sys.__stderr__ is not None and not sys.__stderr__.closed:
        with contextlib.suppress(OSError):
            return os.dup(sys.__stderr__.fileno())
    return os.open(os.devnull, os.O_WRONLY)
