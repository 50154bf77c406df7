"""The validators of attrs in plain words.

The classes behind `attrs.validators` are private, but their fields have kept their names: hence they are told apart by their fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from learnae.config.words import one_of, show

_COMPARED = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


def parts_of(validator: Any, value: Any = ...) -> Iterator[Any]:
    """The single validators behind `and_` and `optional`, as far as they look at `value`."""
    if validator is None:
        return
    together = getattr(validator, "_validators", None)
    if together is not None:
        for part in together:
            yield from parts_of(part, value)
    elif list(_fields(validator)) == ["validator"]:
        if value is not None:
            yield from parts_of(validator.validator, value)
    else:
        yield validator


def bound_of(validator: Any) -> str | None:
    """What a single validator asks for, to be read after "must be"; None for one that is not known.

    A plugin's own validator can say it in a field `meaning`.
    """
    match _fields(validator):
        case {"meaning": meaning}:
            return str(meaning)
        case {"compare_op": operator, "bound": bound} if operator in _COMPARED:
            return f"{_COMPARED[operator]} {show(bound)}"
        case {"options": options}:
            return one_of(options)
        case {"min_length": length}:
            return f"at least {length} long"
        case {"max_length": length}:
            return f"at most {length} long"
        case {"pattern": pattern}:
            return f"text of the form {pattern.pattern}"
        case _:
            return None


def _fields(validator: Any) -> dict[str, Any]:
    fields = getattr(type(validator), "__attrs_attrs__", ())
    return {field.name: getattr(validator, field.name) for field in fields}
