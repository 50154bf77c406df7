"""Several users of one machine, for tests that run as root, as in a container of CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence


def as_user(user: int, work: Callable[[], object], *, umask: int = 0o022, group: int | None = None, more: Sequence[int] = ()) -> str:
    """Do it in a process of that user, whose group has the same number unless another is named; what it raises, in words."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = ""
        try:
            os.setgroups(more)
            os.setgid(user if group is None else group)
            os.setuid(user)
            os.umask(umask)
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
