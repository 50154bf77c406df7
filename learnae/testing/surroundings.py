"""What the kits ask of every check that a service makes of its outside world."""

from __future__ import annotations

from pathlib import Path

import trio

from learnae.strategies import Context, Service

CHECK_SECONDS = 20.0
LINE_CHARACTERS = 500


async def checked(service: Service) -> None:
    """Where all is well a check is over in time, says so in short lines, and leaves nothing behind in the folders of its peer."""
    before = _paths(service.context)
    with trio.fail_after(CHECK_SECONDS):
        lines = await service.check()
    assert isinstance(lines, list | tuple)
    assert {type(line) for line in lines} <= {str}
    assert all(0 < len(line) <= LINE_CHARACTERS and "\n" not in line for line in lines)
    assert _paths(service.context) == before


def _paths(context: Context) -> set[Path]:
    return {path for folder in (context.home, context.meeting) for path in (folder, *folder.rglob("*")) if path.exists()}
