"""A child that the trainer's process forked, such as a worker of a DataLoader: it may outlive the swarm, and has no part in it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from torch import nn

from learnae.identity.homes import claim
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings
from learnae.trainer.swarm import Swarm


def test_a_forked_child_is_not_in_the_swarm_and_does_not_keep_the_node_alive(make_swarm: Any, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros)
    swarm.step()
    held = swarm._node._socket.fileno()
    child = os.fork()
    if child == 0:
        try:
            swarm.step()
        except RuntimeError:
            try:
                os.fstat(held)
            except OSError:
                os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_does_not_keep_the_home(zeros: nn.Module, tmp_path: Path) -> None:
    home = claim(tmp_path)
    swarm = Swarm(zeros, find_shared(zeros), SwarmSettings(home=str(tmp_path), home_fd=home.lock_fd, on_leave=home.close))
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        theirs.send(b"up")
        theirs.recv(1)
        os._exit(0)
    with ours, theirs:
        ours.recv(2)
        swarm.leave()
        claim(tmp_path).close()
    os.waitpid(child, 0)
