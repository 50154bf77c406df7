"""Keeps a node running beside the trainer: starts it, listens to it in a thread, and starts it again when it ends."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

import attrs

from learnae import launch
from learnae.errors import LearnaeError
from learnae.launch import LINK_OPTION, STDERR_OPTION
from learnae.link import memory
from learnae.link.messages import MAX_LINE, MAX_START, Failed, GarbledError, Lines, Message, Start, ToNode, Want
from learnae.outlets import print_message
from learnae.trainer.watchdog import ExitReporter, NodeExit, Watchdog
from learnae.waiting import Backoff

LEAVE_SECONDS = 5.0  # for the goodbye
TERMINATE_SECONDS = 2.0
WORDS = 4000  # bytes of what it says


@attrs.define
class NodeProcess:
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
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(LEAVE_SECONDS)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(TERMINATE_SECONDS)
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


RECEIVE_BYTES = 1 << 16
LONGEST_SECONDS = 3600.0  # of one wait: a system counts no more than 24 days of milliseconds


class NodeConnection:
    """The trainer's end of a link. `ended` after an end of file."""

    def __init__(self, ours: socket.socket, lines: Lines) -> None:
        self._socket, self._lines, self._rest = ours, lines, bytearray()
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self.ended = False

    def listen(self, seconds: float) -> Iterator[Message]:
        """What comes next, if something does within so many seconds. Raises GarbledError, and OSError when the link breaks."""
        if not self._poll.poll(1000 * min(seconds, LONGEST_SECONDS)):
            return
        data = self._socket.recv(RECEIVE_BYTES)
        self.ended = not data
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[: end + 1])
            del self._rest[: end + 1]
            yield self._lines.decode(line)
        if len(self._rest) > MAX_LINE:
            raise GarbledError(f"no line ends within {MAX_LINE} bytes")


SEND_SECONDS = 30


class NodeOwner(Protocol):
    """What a supervisor needs of the one whose node it keeps."""

    def begin(self, send: Callable[[ToNode], None]) -> Start:
        """A node has been started: void what its predecessor offered, and greet it."""

    def hear(self, message: Message) -> None:
        """Take in one line of the node. Raises GarbledError."""

    def seconds_to_look(self) -> float:
        """Until `look` has something to do, as things stand."""

    def look(self) -> None:
        """See what is due by now."""

    def ended(self) -> None:
        """The node is gone."""


class Supervisor:
    """One thread that runs one node after another until it is stopped."""

    def __init__(
        self, trainer: NodeOwner, fds: Sequence[int], watchdog: Watchdog, *, command: Sequence[str] = (), backoff: Backoff, log: Any
    ) -> None:
        self._trainer, self._fds, self._watchdog, self._command = trainer, tuple(fds), watchdog, tuple(command)
        self._backoff, self._exit_reporter = backoff, ExitReporter(log)
        self._lines = Lines()
        self._log = log
        self._thread = threading.Thread(target=self._run, name="learnae-node", daemon=True)
        self._guard = threading.RLock()  # a signal's handler may come in while the same thread holds it
        self._socket: socket.socket | None = None
        self._child: NodeProcess | None = None
        self._again = self._up = False
        self._stopping = threading.Event()
        self._wake, self._settled = threading.Event(), threading.Event()
        self._first_error: LearnaeError | None = None
        self.starts = 0
        self.state = "starting"
        self.last_error = ""
        """Why the last node ended that was not asked to; empty while none has."""

    @property
    def pid(self) -> int | None:
        return self._child.process.pid if self._child else None

    def start(self, timeout: float) -> None:
        """Start a node and wait until it is up, at most so many seconds. Raises the ConfigError or PluginError with which it ended."""
        self._thread.start()
        if not self._settled.wait(timeout):
            self._settled.set()  # nobody waits for the first one any more: from now on all are told of and started again alike
        if self._first_error is not None:
            raise self._first_error

    def restart(self) -> None:
        """Let the node leave, and start another one at once."""
        with self._guard:
            self._again = True
            self._hang_up()

    def stop(self) -> None:
        """Let the node leave within a few seconds; then end it. Idempotent."""
        with self._guard:
            self._stopping.set()
            self._hang_up()
        if self._thread.ident is None:
            return
        if self._has_ended(LEAVE_SECONDS):
            return
        if self._child is not None:
            self._child.process.terminate()
        if self._has_ended(TERMINATE_SECONDS):
            return
        if self._child is not None:
            self._child.process.kill()
        if not self._has_ended(TERMINATE_SECONDS):
            self._log.error("node.immortal", pid=self.pid)

    def _has_ended(self, seconds: float) -> bool:
        """Whether the thread has, at the latest after so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """In a forked child: close what would keep the node from seeing that its trainer has ended; no thread of it is waited for."""
        self._guard = threading.RLock()
        if self._socket is not None:
            os.close(self._socket.detach())
            self._socket = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            ending = self._one_life()
            if self._stopping.is_set() or self._give_up(ending):
                break
            self._pause(ending)
        self.state = "left"
        self._settled.set()

    def _give_up(self, ending: NodeExit) -> bool:
        """A first node that cannot start for a reason that is the user's to mend."""
        if not self._settled.is_set():
            self._first_error = ending.error
        return self._first_error is not None

    def _pause(self, ending: NodeExit) -> None:
        self._settled.set()
        if self._again:
            return
        delay = self._backoff.after(ending.seconds)
        self.last_error = ending.words
        self._exit_reporter.tell(ending, delay)
        self._wake.wait(delay)

    def _one_life(self) -> NodeExit:
        """Nothing that goes wrong here ends the thread: another node may fare better."""
        began, failure, code, said = time.monotonic(), None, None, ""
        with self._guard:
            self._child, self._again, self._up = None, False, False
            self._wake.clear()
        try:
            with self._spawn() as ours:
                failure = self._converse(ours)
        except Exception as error:
            failure = Failed.of(error)
        self._trainer.ended()
        if (child := self._child) is not None:
            code, said = child.reap(), "" if self._up else child.said()
            child.close()
        return NodeExit(time.monotonic() - began, code, failure, said, self._up)

    def _spawn(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        self.starts += 1
        with theirs:
            try:
                self._child = NodeProcess.start(self._command or launch.command("learnae.node"), theirs, self._fds)
            except BaseException:
                ours.close()
                raise
        return ours

    def _converse(self, ours: socket.socket) -> Failed | None:
        """Greet the node and listen to it until it falls silent; what it said of its end, if anything."""
        failure = None
        try:
            with self._guard:
                self._socket = ours
                if self._stopping.is_set() or self._again:
                    self._hang_up()
            ours.sendall(self._lines.encode(self._trainer.begin(self._send), MAX_START))
            self.state = "starting"
            for message in self._messages(ours):
                if isinstance(message, Failed):
                    failure = message
                else:
                    self._pass_on(message)
        except (GarbledError, ValueError) as error:
            failure = Failed(f"the node broke the protocol: {error}")
        except ConnectionError:
            pass  # it died with words of ours unread; its exit code says more
        except OSError as error:
            failure = failure or Failed(f"the link broke: {error}")
        finally:
            with self._guard:
                self._socket, self.state = None, "down"
        return failure

    def _messages(self, ours: socket.socket) -> Iterator[Message]:
        """Until the node has ended; one that hangs is ended here."""
        ear = NodeConnection(ours, self._lines)
        while not ear.ended:
            yield from ear.listen(min(self._watchdog.seconds_to_look(), self._trainer.seconds_to_look()))
            self._trainer.look()
            if self._child is not None and (hang := self._watchdog.look(self._child.process)):
                yield Failed(str(hang))
                return

    def _pass_on(self, message: Message) -> None:
        self._trainer.hear(message)
        if isinstance(message, Want) and not self._settled.is_set():
            self._settled.set()
        if not self._up and self._child is not None and (said := self._child.said()):
            print_message(*said.splitlines())
        self.state, self._up = "running", True

    def _send(self, message: ToNode) -> None:
        """Send from the trainer's own thread; if the node is gone, the listening thread will find out."""
        ours = self._socket  # looked at once: the listening thread may forget it at any moment
        if ours is not None:
            with contextlib.suppress(OSError):
                ours.sendall(self._lines.encode(message))

    def _hang_up(self) -> None:
        """The end of file tells the node to leave; what it still has to say is read."""
        self._wake.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
