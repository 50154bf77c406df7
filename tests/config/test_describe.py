"""Every key is documented where it is defined, and the descriptions come from there."""

from __future__ import annotations

from pathlib import Path

import attrs
from attrs.validators import ge, in_, lt, optional

from learnae.config.describe import OptionKey, describe_options, describe_tables
from learnae.config.load import load_document
from learnae.config.options import OptionsOf


@attrs.frozen
class Options:
    trim: float = attrs.field(default=0.2, validator=[ge(0.0), lt(0.5)], metadata={"doc": "Share dropped at each end."})
    needed: str = attrs.field(kw_only=True)
    place: Path | None = None
    mode: str | None = attrs.field(default=None, validator=optional(in_(("a", "b"))))
    names: tuple[str, ...] = attrs.field(factory=tuple)


def test_options_are_described_in_words_that_fit_a_toml_file() -> None:
    assert describe_options(Options, "merge") == [
        OptionKey("merge", "trim", "a number", "0.2", "Share dropped at each end.", ("at least 0.0", "less than 0.5")),
        OptionKey("merge", "needed", "text", "required", ""),
        OptionKey("merge", "place", "a path", "", ""),
        OptionKey("merge", "mode", "text", "", "", ('one of "a", "b"',)),
        OptionKey("merge", "names", "a list of text", "[]", ""),
    ]


def test_every_key_of_a_file_is_documented() -> None:
    assert [f"{key.table}.{key.key}" for key in describe_tables() if not key.doc] == []


def test_every_table_of_a_file_is_described() -> None:
    assert {key.table for key in describe_tables()} == {
        *("swarm", "peer", "train", "model", "data", "sensor", "join", "node", "metrics", "plugins"),
        *("storage", "announcer", "selector", "gate", "merge", "outer", "codec"),
    }


def test_a_strategy_that_can_be_left_out_has_its_name_as_default(options_of: OptionsOf) -> None:
    defaults = {key.table: key.default for key in describe_tables() if key.key == "use"}
    config = load_document({}, folder=Path(), options_of=options_of)
    assert defaults["merge"] == f'"{config.merge.use}"'
    assert defaults["gate"] == "required"
