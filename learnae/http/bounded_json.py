"""JSON of a server that may lie: of a megabyte of `[],[],[]` come thirty, so it is counted before anything is made of it."""

from __future__ import annotations

import json
from typing import Any

from learnae.http.messages import BadResponseError


def load_json(data: bytes, most_items: int) -> Any:
    """What is in these bytes: a list, a mapping, text, ...

    Raises ValueError for what is no JSON, RecursionError, and BadResponseError for more than `most_items` lists, mappings and what is in
    them. The signs between two of these count, also in the middle of a text.
    """
    if (items := sum(map(data.count, (b"[", b"{", b",")))) > most_items:
        raise BadResponseError(f"an answer of some {items} items, {most_items} expected at most")
    return json.loads(data)
