"""Readings of a small device, as a sample carries them. To make one needs neither torch nor numpy.

The payload of a sample is canonical CBOR:

    {0: version, 1: digest of the schema, 2: number of the first reading, 3: how many, 4: the readings, 5: [words], 6: licence, 7: source}

A reading is its columns behind one another in the order of their names, packed and little-endian. A column of text is one byte: which of
the words it is. 5 to 7 are left out where they are empty. Readings are numbered by their sensor, one after the other.
"""

from __future__ import annotations

import math
import operator
import re
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs
import cbor2

from learnae.content import validators
from learnae.content.scan import Form, look_over
from learnae.data.schema import CODE, DIGEST_BYTES, DTYPES, WORD_CHARACTERS, Column, Schema, check_schema
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.texts import harmless

PAYLOAD_BYTES = 850  # as `learnae.identity.envelopes.SAMPLE_BYTES`: with all that stands around it, sealed, 1,090
MOST_NUMBER = 1 << 62
TEXT = "text"
LICENCE_CHARACTERS, SOURCE_CHARACTERS = 64, 128

_VERSION = 1
_V, _SCHEMA, _FIRST, _COUNT, _DATA, _WORDS, _LICENCE, _SOURCE = range(8)
_MOST_WORDS = 256
_FORM = Form(items=300, containers=2, depth=2)
_KIND = re.compile(r"(?P<dtype>[a-z]+[0-9]*)(?:\[(?P<shape>[0-9]{1,6}(?: *, *[0-9]{1,6})*)\])?")
_CODES = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}


def declared(columns: Mapping[str, str], label: str | None = None) -> Schema:
    """The schema of columns such as `{"temperature": "float32", "station": "text", "acceleration": "float32[3]"}`.

    Raises ConfigError with all that is wrong.
    """
    problems, made = list[Problem](), list[Column]()
    for name in sorted(columns):
        found = _KIND.fullmatch(columns[name])
        shape = tuple(int(size) for size in found["shape"].split(",")) if found and found["shape"] else ()
        if found and (found["dtype"] in DTYPES or (columns[name] == TEXT)):
            made.append(Column(name, CODE, (), ()) if columns[name] == TEXT else Column(name, found["dtype"], shape))
        else:
            wanted = f"one of {', '.join(sorted(DTYPES))} and {TEXT}; float32[3] is three numbers"
            problems.append(Problem(f"sensor.columns.{name}", f"is no kind of column: {columns[name]!r}", wanted))
    if problems:
        raise ConfigError(problems)
    schema = Schema(tuple(made), label)
    try:
        check_schema(schema)
    except UpdateRejectedError as error:
        raise ConfigError(Problem("sensor.columns", error.detail, 'such as columns = {temperature = "float32"}')) from None
    return schema


@attrs.frozen
class PackedReading:
    """One reading as it waits to be sent: bytes of all columns but text, with a zero for each text; and the texts, in their order."""

    data: bytes
    texts: tuple[str, ...] = ()


@attrs.frozen
class ReadingFormat:
    """How the readings of one sensor are packed. Making one raises ConfigError where not even one reading fits into a message."""

    schema: Schema
    licence: str
    source: str = ""

    def __attrs_post_init__(self) -> None:
        room = PAYLOAD_BYTES - len(self.payload(MOST_NUMBER, [])) - 2  # the header of the readings grows by two
        if self.reading_bytes > room:
            message = f"a reading has {self.reading_bytes:,} bytes, and a message has room for {room}"
            raise ConfigError(Problem("sensor.columns", message, "leave out columns, or make them smaller, such as float32 or int16"))

    @property
    def reading_bytes(self) -> int:
        """Of one reading in a message, without the words of its texts."""
        return sum(item_bytes(column) for column in self.schema.columns)

    @cached_property
    def _packers(self) -> Sequence[struct.Struct]:
        return [struct.Struct(f"<{math.prod(column.shape)}{_CODES[column.dtype]}") for column in self.schema.columns]

    def pack(self, reading: Mapping[str, Any]) -> PackedReading:
        """Raises ValueError, with the column, for a reading that does not fit."""
        if not isinstance(reading, Mapping):
            raise ValueError(f"a reading is a mapping such as {{'temperature': 21.5}}, not {_shown(reading)}")
        names = self.schema.by_name
        if missing := names.keys() - reading.keys():
            raise ValueError(f"a reading without {min(missing)!r}; each has a value in each column of sensor.columns")
        if unknown := reading.keys() - names.keys():
            raise ValueError(f"a reading with {min(map(str, unknown))!r}, which is no column of sensor.columns")
        data, texts = list[bytes](), list[str]()
        for column, packer in zip(self.schema.columns, self._packers, strict=True):
            if column.words is not None:
                texts.append(_text(column, reading[column.name]))
                data.append(b"\0")
            else:
                data.append(_packed(column, packer, reading[column.name]))
        packed = PackedReading(b"".join(data), tuple(texts))
        if len(self.payload(MOST_NUMBER, [packed])) > PAYLOAD_BYTES:
            raise ValueError(f"a reading whose texts do not fit: a message has room for {PAYLOAD_BYTES} bytes in all")
        return packed

    def payload(self, first: int, readings: Sequence[PackedReading]) -> bytes:
        """Of these readings, the first of which has this number."""
        words = list(dict.fromkeys(text for one in readings for text in one.texts))
        value: dict[int, Any] = {_V: _VERSION, _SCHEMA: self.schema.digest, _FIRST: first, _COUNT: len(readings)}
        value[_DATA] = b"".join(self._coded(one, words) for one in readings)
        optional = ((_WORDS, words), (_LICENCE, self.licence), (_SOURCE, self.source))
        return cbor2.dumps(value | {key: item for key, item in optional if item}, canonical=True)

    def fitting(self, first: int, readings: Sequence[PackedReading]) -> int:
        """How many of these readings, from the first on, fit into one message: one at least."""
        room = PAYLOAD_BYTES - len(self.payload(first, []))
        low, high = 1, max(1, min(len(readings), room // self.reading_bytes))
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(first, readings[:middle]):
                low = middle
            else:
                high = middle - 1
        return low

    def _fits(self, first: int, readings: Sequence[PackedReading]) -> bool:
        words = {text for one in readings for text in one.texts}
        return len(words) <= _MOST_WORDS and len(self.payload(first, readings)) <= PAYLOAD_BYTES

    def _coded(self, reading: PackedReading, words: list[str]) -> bytes:
        if not reading.texts:
            return reading.data
        data, texts, place = bytearray(reading.data), iter(reading.texts), 0
        for column in self.schema.columns:
            if column.words is not None:
                data[place] = words.index(next(texts))
            place += item_bytes(column)
        return bytes(data)


def item_bytes(column: Column) -> int:
    """What a column takes in one reading."""
    return 1 if column.words is not None else column.row_bytes


def _text(column: Column, value: Any) -> str:
    if not isinstance(value, str) or len(value) > WORD_CHARACTERS or not value.isprintable():
        raise ValueError(f"{column.name!r} is {_shown(value)}: wanted is a text of at most {WORD_CHARACTERS} characters")
    return value


def _packed(column: Column, packer: struct.Struct, value: Any) -> bytes:
    try:
        values = [_number(column, one) for one in (_flat(value) if column.shape else [value])]
        return packer.pack(*values)
    except (struct.error, OverflowError, ValueError, TypeError, LookupError, AttributeError):
        wanted = f"{column.dtype}{list(column.shape) if column.shape else ''}{', finite' if column.floating else ''}"
        raise ValueError(f"{column.name!r} is {_shown(value)}: wanted is {wanted}") from None


def _number(column: Column, value: Any) -> Any:
    """As `struct` takes it. Texts of numbers are numbers: a CSV has nothing else."""
    if column.dtype == "bool":
        return _TRUTH[str(value).strip().lower()]
    if not column.floating:
        whole: Any = float(value) if isinstance(value, str) and "." in value else value
        return int(whole) if isinstance(whole, str) or (isinstance(whole, float) and whole.is_integer()) else operator.index(whole)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def _shown(value: Any) -> str:
    return harmless(repr(value), 80)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split()
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [item for one in value for item in (_flat(one) if isinstance(one, list | tuple) else [one])]
    raise TypeError


@attrs.frozen
class SampleContent:
    """What a sample says, opened and not yet compared with any schema: the readings `first` to `first + count - 1`."""

    schema: bytes
    first: int
    count: int
    data: bytes
    words: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""

    def reading(self, number: int) -> bytes:
        """The bytes of one reading, by its number."""
        size = len(self.data) // self.count
        place = (number - self.first) * size
        return self.data[place : place + size]


def open_sample(payload: bytes) -> SampleContent:
    """Raises UpdateRejectedError for what no `ReadingFormat` makes."""
    look_over(payload, _FORM)
    try:
        value = cbor2.loads(payload)
        canonical = cbor2.dumps(value, canonical=True) == payload
    except Exception as error:  # whatever a stranger's bytes provoke
        raise UpdateRejectedError("malformed", f"no plain CBOR: {type(error).__name__}") from None
    if not canonical or type(value) is not dict or not {_V, _SCHEMA, _FIRST, _COUNT, _DATA} <= value.keys():
        raise UpdateRejectedError("malformed", "no sample of readings")
    if value[_V] != _VERSION:
        raise UpdateRejectedError("version", f"a sample that is not of version {_VERSION}")
    count = validators.integer(value[_COUNT], "the number of readings", 1, PAYLOAD_BYTES)
    data = validators.octets(value[_DATA], "the readings", count, PAYLOAD_BYTES)
    if len(data) % count:
        raise validators.malformed("the readings", "of one length")
    words = validators.items(value.get(_WORDS, []), "words", _MOST_WORDS)
    return SampleContent(
        schema=validators.octets(value[_SCHEMA], "the schema", DIGEST_BYTES, DIGEST_BYTES),
        first=validators.integer(value[_FIRST], "the first number", 0, MOST_NUMBER),
        count=count,
        data=data,
        words=tuple(validators.text(word, "a word", WORD_CHARACTERS) for word in words),
        licence=validators.text(value.get(_LICENCE, ""), "the licence", LICENCE_CHARACTERS),
        source=validators.text(value.get(_SOURCE, ""), "the source", SOURCE_CHARACTERS),
    )
