"""A test that takes too long is told where it stands: in all files but those of trio itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from learnae.testing.kit import awaited

BESIDE = Path(trio.__file__).parent


@pytest.mark.parametrize(
    ("path", "shown"),
    [(BESIDE.with_name("trio_websocket") / "reading.py", True), (BESIDE.with_name("trio_mine.py"), True), (BESIDE / "_socket.py", False)],
    ids=["a package beside it", "a file beside it", "trio"],
)
async def test_a_file_whose_name_begins_as_trios_does_is_told(path: Path, shown: bool) -> None:
    there = {"trio": trio}
    exec(compile("async def reading():\n    await trio.sleep_forever()\n", str(path), "exec"), there)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(there["reading"])  # type: ignore[arg-type]
        await trio.testing.wait_all_tasks_blocked()
        [task] = nursery.child_tasks
        words = awaited(task)
        nursery.cancel_scope.cancel()
    assert (f"reading() at {path.name}:2" in words) is shown
