"""A peer of the demo as it is played: a process of its own, which ends in order when its standard input does."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from learnae.demo import digits
from learnae.demo.processes import Commands, Plan, Stage, start_peer


@pytest.mark.slow
async def test_a_peer_whose_input_ends_reports_saves_and_leaves(tmp_path: Path) -> None:
    stage, plan = Stage(tmp_path), Plan(local_steps=5)
    np.savez(stage.data, **attrs.asdict(digits.load(), recurse=False))

    child = await start_peer(Commands(), plan, stage, 1)
    events = []
    async for line in child.lines():
        events.append(line["event"])
        if line["event"] == "progress":
            await child.dismiss()
    await child.gone()
    code = child.process.returncode
    assert code == 0, stage.log(1).read_text()
    assert events[0] == "training" and events[-1] == "final"
    assert list((stage.home(1) / "checkpoint").iterdir())
