"""Every decoder of a stranger's bytes: nothing but its own errors ever comes out, and no input costs more than its length accounts for."""

from __future__ import annotations

import sys
import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.support.hostile.targets import Target, all_targets

NAMES = (
    "sample",
    "envelope",
    "payload",
    "root",
    "part",
    "meta",
    "pages",
    "update",
    "places",
    "fp32",
    "int8",
    "line",
    "pack",
    "cut",
    "bulletin",
    "answer",
    "kept",
    "history",
    "lock",
    "about",
    "slice",
    "cells",
    "view",
    "index",
    "own",
)
MEBIBYTE = 1 << 20

fuzzed = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> dict[str, Target]:
    return all_targets(tmp_path_factory.mktemp("hostile"))


def calls_and_peak(target: Target, data: bytes) -> tuple[int, int]:
    """How many functions were called, and how many bytes Python held at most."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    tracemalloc.start()
    sys.setprofile(count)
    try:
        target.feed(data)
        return calls, tracemalloc.get_traced_memory()[1]
    finally:
        sys.setprofile(None)
        tracemalloc.stop()


def test_every_target_is_tried(targets, name):
    assert set(targets) == set(NAMES)


def test_valid_encodings_are_accepted(targets, name):
    for seed in targets[name].seeds:
        assert targets[name].feed(seed)


@fuzzed
@given(seed=st.integers(0, 2**64))
def test_valid_encodings_with_something_changed_are_accepted_or_refused(targets, name, seed):
    data = targets[name].mutated(Random(seed))
    note(f"tools/fuzz.py {name} --hex {data.hex()}")
    targets[name].feed(data)


@fuzzed
@given(data=st.binary(max_size=2000))
def test_any_bytes_are_accepted_or_refused(targets, name, data):
    targets[name].feed(data)


@settings(fuzzed, max_examples=40)
@given(seed=st.integers(0, 2**64))
def test_work_and_memory_are_bounded_by_the_length_of_the_input(targets, name, seed):
    data = targets[name].mutated(Random(seed))
    note(f"tools/fuzz.py {name} --hex {data.hex()}")
    calls, peak = calls_and_peak(targets[name], data)
    assert calls <= 3_000 + 50 * len(data)
    assert peak <= MEBIBYTE + 400 * len(data)
