from __future__ import annotations

import socket

from learnae.link.messages import Adopted
from learnae.trainer.backoff import Backoff
from learnae.trainer.supervisor import Supervisor


def test_a_link_that_breaks_while_the_trainer_speaks_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    looks = [ours, None]  # the listening thread forgets the link between two looks at it

    class Breaking(Supervisor):
        _socket = property(lambda self: looks.pop(0), lambda self, link: None)

    with ours, theirs:
        Breaking(None, (), None, backoff=Backoff(), log=None)._send(Adopted(1))  # type: ignore[arg-type]
        assert b"Adopted" in theirs.recv(1000)
