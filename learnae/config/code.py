"""What in a peer's file is code of its own, such as `use = "my_file:MyMerge"`: a file that names some is a program, and no mere setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from learnae.config.choices import KINDS

MARK = ":"


def code_in(document: Mapping[str, Any]) -> list[str]:
    """Each place that names code, and which, such as `merge.use = "my_file:MyMerge"`."""
    named = [f'{kind}.use = "{table["use"]}"' for kind in KINDS for table in _tables(document.get(kind)) if _is_code(table)]
    train = document.get("train")
    entry = train.get("entry") if isinstance(train, Mapping) else None
    return [*named, f'train.entry = "{entry}"'] if isinstance(entry, str) else named


def without_code(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without all that names code."""
    kept = dict(document)
    for kind in KINDS:
        if any(map(_is_code, _tables(kept.get(kind)))):
            rest = [table for table in _tables(kept.pop(kind)) if not _is_code(table)]
            kept |= {kind: rest} if rest else {}
    if isinstance(train := kept.get("train"), Mapping):
        kept["train"] = {name: value for name, value in train.items() if name != "entry"}
    return kept


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    for table in value if isinstance(value, list | tuple) else (value,):
        if isinstance(table, Mapping):
            yield table


def _is_code(table: Mapping[str, Any]) -> bool:
    use = table.get("use")
    return isinstance(use, str) and MARK in use
