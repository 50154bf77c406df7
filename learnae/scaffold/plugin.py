"""A package with one strategy, which works, and with the tests that it must pass."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import attrs

from learnae.scaffold.folders import fill
from learnae.scaffold.names import PluginNames, plugin_names


@attrs.frozen
class Sort:
    """What the template of one kind does, and what its modules import."""

    summary: str
    imports: tuple[str, ...]


SORTS = {
    "storage": Sort("keeps blocks in one SQLite file", ("attrs", "learnae")),
    "announcer": Sort("passes messages on in one SQLite file", ("attrs", "learnae", "trio")),
    "selector": Sort("prefers those from whom a transfer is quick", ("attrs", "learnae", "numpy")),
    "gate": Sort("refuses models that are far away", ("attrs", "learnae", "numpy")),
    "merge": Sort("takes the median of all models", ("attrs", "learnae", "numpy")),
    "outer": Sort("takes the merged step with momentum", ("attrs", "learnae", "numpy")),
    "codec": Sort("sends weights as bfloat16", ("learnae", "numpy")),
}
MANY = ("storage", "announcer", "gate")  # tables that may stand several times


def write_plugin(folder: Path, kind: str, taken: Collection[str]) -> PluginNames:
    """A package called like its folder; `taken` are the strategies of this kind that there are. Raises ConfigError."""
    names = plugin_names(folder.absolute().name, taken)
    fill(folder, _files(names.module, kind), _values(names, kind))
    return names


def _files(module: str, kind: str) -> dict[str, str]:
    return {
        "pyproject.toml": "plugin/pyproject.toml",
        "README.md": "plugin/README.md",
        ".gitignore": "plugin/gitignore",
        f"{module}/__init__.py": "plugin/hook.py",
        f"{module}/{kind}.py": f"plugin/{kind}.py",
        f"tests/test_{module}.py": f"plugin/test_{kind}.py",
    }


def _values(names: PluginNames, kind: str) -> dict[str, str]:
    sort = SORTS[kind]
    return {
        "name": names.distribution,
        "strategy": names.strategy,
        "module": names.module,
        "cls": names.cls,
        "kind": kind,
        "article": "An" if kind[0] in "ao" else "A",
        "called": "outer optimiser" if kind == "outer" else kind,
        "summary": sort.summary,
        "dependencies": ", ".join(f'"{name}"' for name in sort.imports),
        "table": f"[[{kind}]]" if kind in MANY else f"[{kind}]",
    }
