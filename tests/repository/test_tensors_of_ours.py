"""Whoever makes a tensor says where and of which type: torch's defaults are the user's to set."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "learnae"
MAKERS = {
    f"torch.{name}"
    for name in (
        *("arange", "as_tensor", "asarray", "empty", "empty_strided", "eye", "full", "linspace", "logspace", "ones", "rand"),
        *("randint", "randn", "randperm", "scalar_tensor", "tensor", "zeros"),
    )
}
PROGRAMS = ("demo", "testing")  # these are the user: their models may lie anywhere


def makers(source: str) -> list[tuple[int, set[str]]]:
    """The line and the keywords of each call of a function that would look at torch's defaults."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func) in MAKERS]
    return [(call.lineno, {keyword.arg or "" for keyword in call.keywords}) for call in ours]


MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in PROGRAMS and "torch" in path.read_text()]


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_a_tensor_of_ours_names_its_device_and_its_type(path: Path) -> None:
    wrong = [line for line, given in makers(path.read_text()) if not {"device", "dtype"} <= given]
    assert not wrong, f"{path.name}: lines {wrong} leave device or dtype to torch's defaults"


def test_the_search_finds_what_it_looks_for() -> None:
    assert makers("x = torch.zeros(3)\ny = torch.ones(2, dtype=d, device=c)") == [(1, set()), (2, {"dtype", "device"})]
