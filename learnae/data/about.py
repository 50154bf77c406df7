"""What a slice says of itself beside its columns: label, words, licence, source, how many rows each label has, and a sketch of the
features.

It is canonical dag-cbor in a tensor of its own, called `about`. Byte strings do not occur in it (`learnae.content.roots` says why), so the
sketch is hexadecimal text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from learnae.content import validators
from learnae.content.roots import decode_dag, encode_dag
from learnae.content.scan import Form
from learnae.data.schema import MOST_COLUMNS, MOST_ROWS, MOST_WORDS, NAME_CHARACTERS, WORD_CHARACTERS, Rows, Schema
from learnae.errors import ConfigError, Problem, UpdateRejectedError

VERSION = 1
MOST_ABOUT_BYTES = 64 << 10
LICENCE_CHARACTERS = 64
SOURCE_CHARACTERS = 256
MOST_LABELS = 64
"""As many as an announcement holds. With more, or with labels that are no whole numbers, none is counted."""

SKETCH_FEATURES = 48
SKETCH_BYTES = 2 * SKETCH_FEATURES * 4
"""At most: the means of up to 48 features, then their standard deviations, as little-endian float32."""

_MOST_FEATURES = 1 << 16
_CHUNK = 1 << 16  # values that are looked at together: what a cache holds
_LARGEST = 1e15
_SKETCH = np.dtype("<f4")
_HEX = re.compile(r"(?:[0-9a-f]{16})*")
_KEYS = ("v", "label", "labels", "licence", "source", "words", "sketch")
_FORM = Form(items=16 + 2 * MOST_LABELS + 2 * MOST_COLUMNS + 2 * MOST_WORDS, containers=4 + MOST_COLUMNS, depth=3)


@attrs.frozen(kw_only=True)
class About:
    """`label` is the name of a column, `words` those of each column of text, `labels` the number of rows by label."""

    label: str | None = None
    labels: Mapping[str, int] = attrs.field(factory=dict)
    licence: str = ""
    source: str = ""
    words: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    sketch: bytes = b""


def describe(rows: Rows, schema: Schema, *, licence: str = "", source: str = "") -> About:
    """What there is to say of these rows. Raises ConfigError for a licence or source that peers would refuse."""
    words = {column.name: column.words for column in schema.columns if column.words is not None}
    about = About(
        label=schema.label, labels=count_labels(rows, schema), licence=licence, source=source, words=words, sketch=sketch_of(rows, schema)
    )
    try:
        decode_about(encode_about(about))
    except UpdateRejectedError as error:
        raise ConfigError(Problem("data", f"peers would refuse this slice: {error.detail}", "shorten it, or leave it out")) from None
    return about


def encode_about(about: About) -> bytes:
    """Canonical: the same content gives the same bytes."""
    return encode_dag(
        {
            "v": VERSION,
            "label": about.label or "",
            "labels": dict(about.labels),
            "licence": about.licence,
            "source": about.source,
            "words": {name: list(words) for name, words in about.words.items()},
            "sketch": about.sketch.hex(),
        }
    )


def decode_about(data: bytes) -> About:
    """Raises UpdateRejectedError for anything but what `encode_about` makes, "version" for that of another version."""
    value = decode_dag(data, _KEYS, _FORM, longest=MOST_ABOUT_BYTES)
    if value["v"] != VERSION or type(value["v"]) is not int:
        raise UpdateRejectedError("version", f"a slice that is not of version {VERSION}")
    label = validators.text(value["label"], "the label", NAME_CHARACTERS)
    return About(
        label=label or None,
        labels=_labels(value["labels"]),
        licence=validators.text(value["licence"], "the licence", LICENCE_CHARACTERS),
        source=validators.text(value["source"], "the source", SOURCE_CHARACTERS),
        words=_words(value["words"]),
        sketch=_sketch(value["sketch"]),
    )


def count_labels(rows: Rows, schema: Schema) -> dict[str, int]:
    """How many rows each label has: words, or whole numbers as text. Empty for anything else, and for more than 64."""
    column = schema.label_column
    if column is None or column.floating or column.shape:
        return {}
    found, counts = np.unique(rows[column.name], return_counts=True)
    if len(found) > MOST_LABELS:
        return {}
    names = (str(int(code)) if column.words is None else column.words[code] for code in found)
    return dict(sorted(zip(names, map(int, counts), strict=True)))


def sketch_of(rows: Rows, schema: Schema) -> bytes:
    """Mean and standard deviation of the features: all numbers of a row but the label. The same on every machine, to the last bit.

    Up to 48 features stand for themselves. More are added up, each with a sign, in 48 sums, as a count sketch does (Charikar, Chen and
    Farach-Colton 2002). So the difference of two sketches tells how far two sets of rows are apart. Sums are made by halving, in an order
    that no library chooses.
    """
    columns = [column for column in schema.columns if column.name != schema.label and column.words is None]
    arrays = [rows[column.name].reshape(len(rows[column.name]), -1) for column in columns]
    width = sum(array.shape[1] for array in arrays)
    if not width:
        return b""
    step = -(-width // _MOST_FEATURES)
    plan = _projection(len(range(0, width, step)))
    count = len(arrays[0])
    height = max(1, _CHUNK // plan.shape[1] // plan.shape[0])
    first = _project(arrays, slice(0, 1), step, plan)
    sums = [_moments(_project(arrays, slice(start, start + height), step, plan) - first) for start in range(0, count, height)]
    total, squares = (_sum(np.stack([pair[i] for pair in sums], axis=1)) for i in range(2))
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
    return np.concatenate([first[:, 0] + mean, deviation]).astype(_SKETCH).tobytes()


def same_sketch(one: bytes, other: bytes) -> bool:
    """Up to rounding: a machine whose arithmetic is another one's is no liar."""
    return len(one) == len(other) and bool(np.allclose(np.frombuffer(one, _SKETCH), np.frombuffer(other, _SKETCH), rtol=1e-3, atol=1e-6))


def _projection(width: int) -> np.ndarray[Any, Any]:
    """Which features each sum adds, in rows of equal length: one more than the number of the feature, below zero where it is taken off; 0
    is none."""
    if width <= SKETCH_FEATURES:
        return np.arange(1, width + 1, dtype=np.int64)[:, None]
    numbers = np.arange(width, dtype=np.uint64)
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # splitmix64
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    order = np.argsort(mixed)  # as good as shuffled, and all sums get as many
    signs = np.where(mixed[order] & np.uint64(1), 1, -1)
    plan = np.zeros(-(-width // SKETCH_FEATURES) * SKETCH_FEATURES, np.int64)
    plan[:width] = signs * (order + 1)
    return plan.reshape(-1, SKETCH_FEATURES).T


def _project(arrays: list[np.ndarray[Any, Any]], part: slice, step: int, plan: np.ndarray[Any, Any]) -> Any:
    """The sums of these rows: float64, sums x rows."""
    wide = np.concatenate([array[part].T.astype(np.float64) for array in arrays])[::step]
    np.clip(wide, -_LARGEST, _LARGEST, out=wide)
    if plan.shape[1] == 1:
        return wide
    added = [wide[np.abs(taken) - 1] * np.sign(taken)[:, None] for taken in plan.T]  # number 0 takes the last feature, times nothing
    while len(added) > 1:
        half = len(added) // 2
        added = [*map(np.add, added[:half], added[half : 2 * half]), *added[2 * half :]]
    return added[0]


def _moments(values: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    return _sum(values), _sum(values * values)


def _sum(values: np.ndarray[Any, Any]) -> Any:
    """Over the last dimension, halving it again and again: each step adds element by element, which all machines do alike."""
    while (count := values.shape[-1]) > 1:
        half = count // 2
        folded = values[..., :half] + values[..., half : 2 * half]
        if count % 2:
            folded[..., 0] += values[..., -1]
        values = folded
    return values[..., 0]


def _labels(value: Any) -> dict[str, int]:
    counts = validators.table(value, "labels", MOST_LABELS).items()
    return {validators.text(name, "a label", WORD_CHARACTERS): validators.integer(count, "a count", 1, MOST_ROWS) for name, count in counts}


def _words(value: Any) -> dict[str, tuple[str, ...]]:
    entries = validators.table(value, "words", MOST_COLUMNS).items()
    return {
        validators.text(name, "a column", NAME_CHARACTERS): tuple(
            validators.text(word, "a word", WORD_CHARACTERS) for word in validators.items(words, "words", MOST_WORDS)
        )
        for name, words in entries
    }


def _sketch(value: Any) -> bytes:
    if type(value) is not str or len(value) > 2 * SKETCH_BYTES or not _HEX.fullmatch(value):
        raise validators.malformed("the sketch", f"at most {SKETCH_BYTES} bytes in hexadecimal")
    sketch = bytes.fromhex(value)
    if not np.isfinite(np.frombuffer(sketch, _SKETCH)).all():
        raise validators.malformed("the sketch", "finite numbers")
    return sketch
