from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from learnae.config.tables import YEAR
from learnae.link.messages import Adopted, Failed, Lines, Want
from learnae.trainer.supervisor import NodeConnection, Supervisor
from learnae.trainer.watchdog import ExitReporter, NodeExit
from learnae.waiting import Backoff


def test_a_link_that_breaks_while_the_trainer_speaks_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    looks = [ours, None]  # the listening thread forgets the link between two looks at it

    class Breaking(Supervisor):
        _socket = property(lambda self: looks.pop(0), lambda self, link: None)

    with ours, theirs:
        Breaking(None, (), None, backoff=Backoff(), log=None)._send(Adopted(1))  # type: ignore[arg-type]
        assert b"Adopted" in theirs.recv(1000)


def test_a_watcher_that_looks_once_a_year_hears_its_node_all_the_same() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(Lines().encode(Want()))
        assert list(NodeConnection(ours, Lines()).listen(YEAR)) == [Want()]


class Log:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **facts: self.told.append((event, facts))


def ending(words: str, *, was_up: bool = False) -> NodeExit:
    return NodeExit(0.1, 1, Failed(words), was_up=was_up)


def test_a_node_that_always_ends_alike_is_told_of_loudly_once_and_then_no_more() -> None:
    log = Log()
    teller = ExitReporter(log)
    for _ in range(9):
        teller.tell(ending("no room"), 1.0)
    assert [event for event, _ in log.told] == ["node.ended", "node.ended", "node.cannot_start"]
    teller.tell(ending("something else"), 1.0)
    assert log.told[-1][0] == "node.ended"


def test_one_that_was_up_in_between_is_told_of_each_time() -> None:
    log = Log()
    teller = ExitReporter(log)
    for _ in range(9):
        teller.tell(ending("it hung", was_up=True), 1.0)
    assert [event for event, _ in log.told] == ["node.ended"] * 9


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (NodeExit(0.1, 1, None, said="first\nlibtorch.so: undefined symbol"), "libtorch.so: undefined symbol"),
        (NodeExit(0.1, -11, None), "ended by SIGSEGV"),
        (NodeExit(0.1, 7, None), "exit code 7"),
        (NodeExit(0.1, 1, Failed("KeyError: 'x'", trace="Traceback ...")), "KeyError: 'x'"),
    ],
)
def test_each_ending_has_words(end: NodeExit, words: str) -> None:
    assert end.words == words


def test_what_a_node_writes_before_its_link_is_open_is_in_its_last_words(make_swarm: Any, zeros: Any, monkeypatch: Any) -> None:
    swarm = make_swarm(zeros, start=False)
    log = swarm._node._exit_reporter.log = Log()
    swarm._node._command = (sys.executable, "-c", "import os; os.write(2, b'Fatal: the library is broken'); os._exit(1)")
    swarm.start()
    while not log.told:
        swarm._node._settled.wait(1)
    assert swarm._node.last_error == "Fatal: the library is broken"
    assert log.told[0][1]["exception"] == "Fatal: the library is broken"


def test_a_thread_that_supervises_survives_whatever_goes_wrong_in_it(make_swarm: Any, zeros: Any, watch: Any) -> None:
    swarm = make_swarm(zeros, start=False)
    begin, calls = swarm._session.begin, []

    def begins(send: Any) -> Any:
        calls.append(send)
        if len(calls) < 3:
            raise ZeroDivisionError("a bug of ours")
        return begin(send)

    swarm._session.begin = begins
    swarm.start()
    watch.want(swarm)
    assert "ZeroDivisionError" in swarm._node.last_error and swarm.status.node_starts == 3


BUGGY = "import sys, learnae.node.__main__ as node; node._build = lambda *_: {}['a bug']; sys.exit(node.main())"


def test_a_bug_in_the_node_reaches_the_log_of_the_trainer_with_the_place(make_swarm: Any, zeros: Any) -> None:
    swarm = make_swarm(zeros, start=False)
    log = swarm._node._exit_reporter.log = Log()
    swarm._node._command = (sys.executable, "-c", BUGGY)
    swarm.start()
    while not log.told:
        swarm._node._settled.wait(1)
    event, facts = log.told[0]
    assert (event, facts["exit_code"], facts["said"]) == ("node.ended", 1, "KeyError: 'a bug'")
    assert "in <lambda>" in facts["exception"]
