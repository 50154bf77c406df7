"""A config travels to the node as JSON and is the same there."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae import PluginError
from learnae.config.load import load_document
from learnae.config.options import OptionsOf
from learnae.config.saved_config import dump
from learnae.config.tables import Config

Read = Callable[..., Config]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
path = text.filter(lambda path: not path.startswith("~"))  # users whom this machine does not know have no home folder
number = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**63 - 1)
keys = st.text("0123456789abcdef", min_size=64, max_size=64)
duration = st.floats(0.001, 1e6)


def table(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


gates = st.one_of(st.just({"use": "sane"}), st.builds(lambda trim: {"use": "clip", "trim": trim}, st.floats(0, 0.5, exclude_max=True)))
plain = st.recursive(
    st.none() | st.booleans() | whole | number | text, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
)
rich = st.fixed_dictionaries(
    {"use": st.just("rich"), "whole": whole},
    optional={
        "ratio": number | whole,
        "switch": st.booleans(),
        "label": st.text(string.ascii_lowercase, min_size=1),
        "place": path,
        "many": st.lists(whole),
        "pair": st.tuples(whole, text),
        "rows": st.lists(number),
        "table": st.dictionaries(text, whole),
        "either": whole | text,
        "literal": st.sampled_from(["a", 1]),
        "mode": st.sampled_from(["fast", "safe"]),
        "anything": plain,
        "words": text,
        "private": whole,
    },
)
documents = table(
    swarm=table(name=text, open=st.booleans()),
    peer=table(home=path, allow=st.lists(keys), seed=st.integers(0, 2**63 - 1), quota_bytes=st.integers(1, 2**63 - 1)),
    train=table(entry=st.just("train:make"), local_steps=st.integers(1, 10**6), patience=st.floats(0, 1), save_seconds=duration),
    model=table(keep_local=st.lists(text)),
    data=table(accept_bytes=st.integers(0, 2**63 - 1), licences=st.lists(text), ranges=st.dictionaries(text, st.just([-1.5, 2]))),
    join=table(wait_seconds=st.floats(0, 86_400), settle_rounds=st.integers(0, 99), fresh=st.booleans(), lineage=st.just("0f" * 8)),
    node=table(fetch_seconds=duration, inbox_peers=st.integers(1, 10**6)),
    plugins=table(disable=st.lists(text)),
    storage=st.lists(st.builds(lambda write: {"use": "directory", "write": write}, st.booleans()), min_size=1, max_size=3),
    selector=table(count=st.integers(1, 100)),
    gate=gates | st.lists(gates, max_size=3),
    merge=rich,
    outer=st.just({"use": "trim"}),
)


@given(document=documents)
def test_a_dumped_config_loads_as_an_equal_one(document: dict[str, Any], options_of: OptionsOf) -> None:
    config = load_document(document, folder=Path("/folder"), options_of=options_of)
    sent = json.loads(json.dumps(dump(config), allow_nan=False))
    assert load_document(sent, folder=config.folder, options_of=options_of) == config


def test_what_the_file_left_out_is_dumped_with_its_default(read: Read) -> None:
    dumped = dump(read())
    assert dumped["train"] == {"local_steps": 20, "round_seconds": 10.0, "patience": 0.1, "save_seconds": 30.0}
    assert [gate["use"] for gate in dumped["gate"]] == ["sane", "balance-own", "progress", "pace"]
    assert dumped["gate"][1] == {"use": "balance-own", "trim": 0.2}
    assert dumped["outer"] == {"use": "qgo", "trim": 0.2}
    assert "folder" not in dumped


def test_a_path_keeps_its_meaning_wherever_the_node_starts(read: Read, tmp_path: Path) -> None:
    assert dump(read('[peer]\nhome = "home"'))["peer"]["home"] == str(tmp_path / "home")


def test_an_option_that_json_cannot_carry_is_the_plugins_fault(read: Read) -> None:
    config = read()
    broken = attrs.evolve(config, merge=attrs.evolve(config.merge, options=attrs.make_class("Options", {"x": attrs.field()})(math)))
    with pytest.raises(PluginError, match=r"merge\.x"):
        dump(broken)
