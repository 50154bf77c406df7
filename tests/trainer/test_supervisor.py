from __future__ import annotations

import socket

from learnae.backoff import Backoff
from learnae.config.tables import YEAR
from learnae.link.lines import Lines
from learnae.link.messages import Adopted, Want
from learnae.trainer.ear import Ear
from learnae.trainer.supervisor import Supervisor


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
        assert list(Ear(ours, Lines()).listen(YEAR)) == [Want()]
