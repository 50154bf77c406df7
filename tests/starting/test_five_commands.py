"""docs/plugins.md: from nothing to a swarm that merges by a rule of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


def five_commands() -> list[str]:
    (commands,) = re.findall(r"^## Five commands\n.*?\n\n((?:    [^\n]*\n)+)", PAGE, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in commands.splitlines()]


def test_there_are_five() -> None:
    commands = five_commands()
    assert len(commands) == 5
    assert commands[0] == "learnae new-plugin my-rule --kind merge"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_they_lead_to_a_swarm(elsewhere: Any) -> None:
    *making, training = five_commands()
    for command in making:
        elsewhere.run(command)
    assert "my-rule (my-rule 0.1.0)" in elsewhere.run("learnae plugins")
    peers = [elsewhere.start(training) for _ in range(2)]
    assert [peer.counts("merged", 3) >= 3 for peer in peers] == [True, True]
    assert [peer.ends() for peer in peers] == [130, 130]
    assert "plugin" not in "\n".join(peers[0].err + peers[1].err)
