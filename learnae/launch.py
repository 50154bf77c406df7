"""Starts our own programs, such as the node, so that no file of the user's shadows a module in them; and is their first code.

A child imports what its parent can import, in another order: first Python's own modules, then what is installed, and last what the
parent's path names beside that, such as the folder of its script. Learnae itself comes from where the parent has it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, cast

LINK_OPTION, STDERR_OPTION = "--link-fd", "--stderr-fd"
LINES = 12  # of a traceback
BYTES = 4000


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs `main()` of this module of ours."""
    import json

    here = os.path.abspath(__file__)
    path = [os.path.abspath(os.fspath(entry)) for entry in sys.path]  # an empty one is the folder of work, as it is now
    told = json.dumps([os.path.dirname(os.path.dirname(here)), path])
    code = (here,) if os.path.isfile(here) else ("-c", _source())
    return (sys.executable or "python3", "-P", *code, module, told, *arguments)


def installed_command() -> tuple[str, ...]:
    """The command line that runs `learnae` from this environment, whatever lies in the folder in which it is started."""
    return (sys.executable or "python3", "-P", "-m", "learnae")


def _source() -> str:
    """Where Learnae is imported from an archive."""
    return cast(str, globals()["__loader__"].get_source(__name__))


def main() -> None:
    """In the child. Where a node cannot be imported, its trainer is told why."""
    module, told, *arguments = sys.argv[1:]
    sys.argv[:] = [module, *arguments]
    if LINK_OPTION in arguments:
        sys.exit(_imported_main(module, told, int(arguments[arguments.index(LINK_OPTION) + 1]))())
    _set_path(told)
    import runpy

    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _imported_main(module: str, told: str, link_fd: int) -> Callable[[], int]:
    try:
        _set_path(told)
        import importlib

        return cast("Callable[[], int]", importlib.import_module(f"{module}.__main__").main)
    except Exception as error:
        _tell(error, link_fd)
        sys.exit(2)


def _set_path(told: str) -> None:
    sys.path[:] = _without_variable()
    import json
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    root, path = json.loads(told)
    sys.path += [entry for entry in dict.fromkeys(path) if entry not in sys.path]
    spec: Any = PathFinder.find_spec("learnae", [root])
    sys.modules["learnae"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["learnae"])


def _without_variable() -> list[str]:
    """The path without what PYTHONPATH puts first; the parent's has it too, and adds it at the end."""
    own = os.path.dirname(os.path.abspath(os.__file__))
    named = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    return [entry for entry in sys.path if os.path.abspath(entry) not in named or os.path.abspath(entry).startswith(own)]


def _tell(error: Exception, fd: int) -> None:
    """As `learnae.link.messages.Failed`, written by hand: what encodes it may be what is missing."""
    import json
    import traceback

    trace = "".join(traceback.format_exception(error)[-LINES:])[-BYTES:]
    words = f"{type(error).__name__}: {error}"[:BYTES]
    remedy = f"the node is started with {sys.executable}: what is imported by your program must be importable by it"
    problem = {"key": "node", "message": f"cannot be started: {words}", "suggestion": remedy}
    line = json.dumps({"is": "Failed", "text": words, "problems": [problem], "trace": trace})
    os.write(fd, line.encode() + b"\n")


if __name__ == "__main__":
    main()
