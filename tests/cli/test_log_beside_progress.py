"""A line of the log begins on a line of its own, also where a line of progress stands on the terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SAYS = "from learnae.logs import make_logger; make_logger().warning('peer.denied')"


def test_on_a_terminal_a_line_of_the_log_takes_the_place_of_what_stands_there() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-P", "-c", SAYS], stderr=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert said.startswith("\r\x1b[K") and "peer.denied" in said


def test_elsewhere_it_is_the_bare_line() -> None:
    said = subprocess.run([sys.executable, "-P", "-c", SAYS], stderr=subprocess.PIPE, check=True, text=True).stderr
    assert said.startswith("{") and "\x1b" not in said
