"""What a peer trains on, without its rows: `data/trained_on.json` in its home. The trainer's process writes it, whatever the file says of
consent, and the node reads it: so it knows which slices of others fit, and what they would add. Nothing of it is published.

    {v: 1, schema, rows, labels: {label: rows}, known_labels: [label] or null, sketch: hexadecimal}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from learnae.content import validators
from learnae.data.about import MOST_LABELS, SKETCH_BYTES
from learnae.data.pool_index import open_data
from learnae.data.schema import WORD_CHARACTERS, Schema, dump_schema, load_schema
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.opening import replace_file

FILE = "trained_on.json"
MOST_KNOWN_LABELS = 1 << 16
_MOST_BYTES = 8 << 20
_MOST_ROWS = 1 << 62
_VERSION = 1


@attrs.frozen(kw_only=True)
class TrainedOn:
    """Schema and number of the own rows, how many each label has (empty where that was not counted), and the sketch of their features.

    `known_labels` are those that rows of others may have; None: any.
    """

    schema: Schema
    rows: int
    labels: Mapping[str, int] = attrs.field(factory=dict)
    known_labels: tuple[str, ...] | None = None
    sketch: bytes = b""


def tell(home: Path, trained_on: TrainedOn) -> None:
    """Replace what was told. Raises ConfigError for a home that cannot be used, or for too many labels or words, and OSError."""
    known = trained_on.known_labels
    value = {
        "v": _VERSION,
        "schema": dump_schema(trained_on.schema),
        "rows": trained_on.rows,
        "labels": dict(trained_on.labels),
        "known_labels": None if known is None else list(known),
        "sketch": trained_on.sketch.hex(),
    }
    text = json.dumps(value).encode()
    if len(text) > _MOST_BYTES or len(known or ()) > MOST_KNOWN_LABELS:
        raise ConfigError(Problem("data", "has too many labels or words to tell of", "leave some out, or make them numbers"))
    with open_data(home, make=True) as data:
        replace_file(FILE, text, at=data.fd)


def told(home: Path) -> TrainedOn | None:
    """What was told last; None before anything was. Raises ConfigError for a file that is damaged or not this user's, and OSError."""
    try:
        with open_data(home, looking=True) as data:
            return _decode(data.read(FILE, _MOST_BYTES))
    except FileNotFoundError:
        return None
    except (UpdateRejectedError, ValueError, RecursionError, KeyError, TypeError) as error:
        place = os.fspath(home / "data" / FILE)
        raise ConfigError(Problem(place, f"is damaged: {error}", "remove it; the next training writes it anew")) from None


def _decode(text: bytes) -> TrainedOn:
    value = validators.table(json.loads(text), "what is trained on", 6)
    if value["v"] != _VERSION:
        raise ValueError(f"it is of version {value['v']}, and this is Learnae of version {_VERSION}")
    labels = validators.table(value["labels"], "labels", MOST_LABELS).items()
    known = value["known_labels"]
    sketch = bytes.fromhex(validators.text(value["sketch"], "the sketch", 2 * SKETCH_BYTES))
    return TrainedOn(
        schema=load_schema(value["schema"]),
        rows=validators.integer(value["rows"], "rows", 0, _MOST_ROWS),
        labels={validators.text(name, "a label", WORD_CHARACTERS): validators.integer(count, "a count") for name, count in labels},
        known_labels=None
        if known is None
        else tuple(validators.text(label, "a label", WORD_CHARACTERS) for label in validators.items(known, "labels", MOST_KNOWN_LABELS)),
        sketch=sketch,
    )
