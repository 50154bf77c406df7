"""The trainer tells the node what it trains on, by a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learnae.data.schema import schema_of
from learnae.data.trained_on import FILE, TrainedOn, tell, told
from learnae.errors import ConfigError

ROWS = {"x": np.zeros((3, 2), np.float32), "kind": np.array([0, 1, 1], np.int32)}
TOLD = TrainedOn(
    schema=schema_of(ROWS, "kind", {"kind": ("cat", "dog")}),
    rows=3,
    labels={"cat": 1, "dog": 2},
    known_labels=("cat", "dog", "owl"),
    sketch=bytes(16),
)


def test_the_node_reads_what_the_trainer_has_told_last(tmp_path: Path) -> None:
    assert told(tmp_path) is None
    tell(tmp_path, TrainedOn(schema=TOLD.schema, rows=1))
    tell(tmp_path, TOLD)
    assert told(tmp_path) == TOLD


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 2}', "[" * 100_000, '{"v": 1, "schema": {}, "rows": 1}'])
def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path, text: str) -> None:
    tell(tmp_path, TOLD)
    (tmp_path / "data" / FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"is damaged.*remove it"):
        told(tmp_path)


def test_more_labels_than_a_reader_takes_are_refused_when_they_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too many labels"):
        tell(tmp_path, TrainedOn(schema=TOLD.schema, rows=3, known_labels=tuple(map(str, range(70_000)))))
    assert told(tmp_path) is None
