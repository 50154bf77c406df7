"""In a line of the log, `peer` is another peer. The own key is `own`, bound once for all lines of a node."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = [
    path for root in ("learnae", "plugins") for path in sorted((ROOT / root).rglob("*.py")) if "tests" not in path.relative_to(ROOT).parts
]
LEVELS = {"debug", "info", "warning", "error", "exception", "bind"}
OF_ONESELF = {"own", "identity", "me"}


def own_keys_told_as_peer(text: str) -> Iterator[str]:
    """Each call that logs with a `peer` and has it from what names the own key, or binds it to all lines."""
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and _logs(node.func)):
            continue
        for keyword in node.keywords:
            words = {child.id for child in ast.walk(keyword.value) if isinstance(child, ast.Name)}
            words |= {child.attr for child in ast.walk(keyword.value) if isinstance(child, ast.Attribute)}
            if keyword.arg == "peer" and (words & OF_ONESELF or ast.unparse(node.func).endswith("bind")):
                yield ast.unparse(node)


def _logs(function: ast.expr) -> bool:
    """`log.info(...)`, and `say(...)` where that was chosen among the levels."""
    return (isinstance(function, ast.Attribute) and function.attr in LEVELS) or (isinstance(function, ast.Name) and function.id == "say")


def test_no_line_of_the_log_calls_the_own_key_a_peer() -> None:
    assert [f"{path.name}: {call}" for path in CODE for call in own_keys_told_as_peer(path.read_text())] == []


def test_an_own_key_under_the_name_of_another_is_found() -> None:
    assert list(own_keys_told_as_peer("log.bind(peer=identity.peer)"))
    assert list(own_keys_told_as_peer("self.log.info('a', peer=self.own[:8])"))
    assert list(own_keys_told_as_peer("say('a', peer=self.identity.peer)"))
    assert not list(own_keys_told_as_peer("log.bind(own=identity.peer); log.info('a', peer=entry.peer)"))
