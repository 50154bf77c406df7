"""Public records can get new fields: those with many are made with keywords only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

import learnae
from learnae import hookspecs, records, strategies
from learnae.http.client import Endpoint
from learnae.testing import swarm
from learnae.trainer.loop import TrainingProgress
from learnae.trainer.status import Status

MOST_BY_POSITION = 3


def by_position(cls: Any) -> int:
    """How many arguments can be given by position."""
    return sum(field.init and not field.kw_only for field in attrs.fields(cls))


def public() -> Iterator[type]:
    yield from (Endpoint, Status, TrainingProgress, swarm.MemoryTrainer, swarm.SimulatedPeer, swarm.SimulatedSwarm)
    members = [getattr(learnae, name) for name in learnae.__all__]
    members += [member for module in (hookspecs, records, strategies) for member in vars(module).values()]
    yield from (member for member in members if isinstance(member, type) and attrs.has(member))


def test_a_public_record_of_more_than_three_fields_takes_keywords_only() -> None:
    assert {cls.__name__ for cls in public() if by_position(cls) > MOST_BY_POSITION} == set()


def test_a_record_that_takes_its_fields_by_position_is_found() -> None:
    assert by_position(attrs.make_class("Long", ["a", "b", "c", "d"], frozen=True)) > MOST_BY_POSITION
