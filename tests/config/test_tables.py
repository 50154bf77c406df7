"""What a file may say, and in which words it hears that it may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from learnae import NoOptions, PluginError
from learnae.config.tables import Choice, Config, SelectorChoice, StorageChoice

Problems = Callable[..., list[str]]
Read = Callable[..., Config]


def test_an_empty_file_is_a_peer_with_the_defaults(read: Read) -> None:
    config = read()
    assert config.storage == (StorageChoice("directory", NoOptions(), write=True),)
    assert config.announcer == (Choice("directory", NoOptions()),)
    assert config.selector == SelectorChoice("least-recently-tried", NoOptions(), count=2)
    assert [gate.use for gate in config.gate] == ["sane", "balance-own", "progress", "pace"]
    assert (config.merge.use, config.codec.use, config.outer.use) == ("average", "int8", "qgo")


MISTAKES = {  # by what is told of them: the file, the key, and what else is named
    "the nearest key": ("[train]\nlocal_step = 3", "train.local_step", "local_steps"),
    "all keys where none is near": ("[model]\nx = 3", "model.x", "known: keep_local"),
    "the keys of a table and of its strategy": ('[[gate]]\nuse = "clip"\nlimit = 1', "gate[0].limit", "known: trim, use"),
    "the nearest table": ("[storrage]", "storrage", '"storage"'),
    "where a key belongs": ("local_steps = 3", "local_steps", "[train]"),
    "a key that is not bare, in quotes": ('[model]\n"a.b\\n" = 1', r'model."a.b\n"', "is not a key"),
    "the least": ("[train]\npatience = -1", "train.patience", "at least 0.0, not -1.0"),
    "the most": ("[train]\npatience = 1.5", "train.patience", "at most 1.0, not 1.5"),
    "a bound that is left out": ("[train]\nlocal_steps = 0", "train.local_steps", "more than 0, not 0"),
    "a budget that no block fits through": (
        "[peer]\nupload_bytes_per_second = 10",
        "peer.upload_bytes_per_second",
        "at least 1024, not 10",
    ),
    "a form": ('[train]\nentry = "train"', "train.entry", '"module:function", not "train"'),
    "a bound that a strategy sets": ('[gate]\nuse = "clip"\ntrim = 0.5', "gate.trim", "less than 0.5, not 0.5"),
    "what a class says of the whole": ('[merge]\nuse = "checked"\nsize = 4', "merge", "four brings bad luck"),
    "the nearest strategy": ('[merge]\nuse = "avrage"', "merge.use", '"average"'),
    **{f"that [{kind}] stands once": (f"[[{kind}]]", kind, f"[{kind}]") for kind in ("selector", "merge", "outer", "codec", "train")},
    **{f"that one {kind} is needed": (f"{kind} = []", kind, f"[[{kind}]]") for kind in ("storage", "announcer")},
    "how to write a list of tables": ('gate = ["clip"]', "gate[0]", "[[gate]]"),
    "how to write a table": ('merge = "average"', "merge", "[merge]"),
    "that a gate needs a name": ("[[gate]]", "gate[0].use", "is missing"),
    "what to write for an option without a default": ('[merge]\nuse = "rich"', "merge.whole", "an integer"),
}


@pytest.mark.parametrize(("text", "key", "named"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_at_its_key_with_what_helps(problems: Problems, text: str, key: str, named: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"{key}: ") and named in problem


def test_all_problems_come_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    found = problems("""
        [train]
        local_steps = 0
        nonsense = 1
        patience = 2
        [[gate]]
        use = "clip"
        [[gate]]
        use = "clip"
        trim = 0.7
        [join]
        settle_seconds = 5
        fresh = 1
        [swarm]
        name = ""
        [merge]
        use = "avrage"
    """)
    assert [problem.split(":")[0] for problem in found] == [
        "train.local_steps",
        "train.nonsense",
        "train.patience",
        "gate[1].trim",
        "join.settle_seconds",
        "join.fresh",
        "swarm.name",
        "merge.use",
    ]


def test_the_options_of_a_strategy_stand_beside_its_name(read: Read) -> None:
    config = read('[[gate]]\nuse = "clip"\ntrim = 0.3\n[selector]\ncount = 4\n[[storage]]\nuse = "directory"\nwrite = false')
    assert config.gate[0].options.trim == 0.3
    assert config.selector == SelectorChoice("least-recently-tried", NoOptions(), count=4)
    assert config.storage[0].write is False


def test_a_validator_may_look_at_other_fields(problems: Problems, read: Read) -> None:
    assert problems('[merge]\nuse = "between"\nlow = 20') == ["merge.high: must be above low"]
    assert read('[merge]\nuse = "between"\nlow = 20\nhigh = 21').merge.options.high == 21.0


def test_every_field_is_validated_and_not_only_up_to_the_first_that_fails(problems: Problems) -> None:
    found = problems('[merge]\nuse = "checked"\nnames = ["a", "B"]\nsize = 5')
    assert [problem.split(":")[0] for problem in found] == ["merge.names", "merge.size"]
    assert found[1] == "merge.size: must be less than 5, not 5"


@pytest.mark.parametrize(
    ("lines", "key"),
    [('use = "checked"\nsize = 3', "merge"), ('use = "computed"\nparts = 0', "merge.share")],
    ids=["the whole", "a default"],
)
def test_whatever_options_raise_while_they_are_made_is_a_problem_of_the_file(problems: Problems, lines: str, key: str) -> None:
    (problem,) = problems(f"[merge]\n{lines}")
    assert problem.startswith(f"{key}: is refused: ZeroDivisionError")


@pytest.mark.parametrize("kind", ["storage", "announcer", "gate"])
def test_several_may_stand_as_one_table_or_as_a_list_of_tables(read: Read, kind: str) -> None:
    use = {"gate": "sane"}.get(kind, "directory")
    single, listed = read(f'[{kind}]\nuse = "{use}"'), read(f'[[{kind}]]\nuse = "{use}"')
    assert getattr(single, kind) == getattr(listed, kind) == (getattr(listed, kind)[0],)


def test_a_peer_may_do_without_gates(read: Read) -> None:
    assert read("gate = []").gate == ()


def test_a_broken_plugin_is_its_own_error_if_the_file_is_fine(read: Read) -> None:
    with pytest.raises(PluginError, match="a-plugin"):
        read('[merge]\nuse = "broken"')


def test_a_broken_plugin_does_not_hide_the_problems_of_the_file(problems: Problems) -> None:
    found = problems('[train]\nlocal_steps = 0\n[merge]\nuse = "broken"')
    assert found[0].startswith("train.local_steps")
    assert found[1].startswith("merge.use: plugin 'a-plugin' failed")


@pytest.mark.parametrize(("use", "words"), [("clash", "has a key 'use' already"), ("odd", "number is of type <class 'complex'>")])
def test_options_that_cannot_stand_in_a_file_are_the_plugins_fault(read: Read, use: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        read(f'[merge]\nuse = "{use}"')


def test_public_keys_are_hexadecimal(problems: Problems, read: Read) -> None:
    assert problems('[peer]\nallow = ["abc"]')[0].startswith("peer.allow: must be 64 lower-case hexadecimal digits")
    assert read(f'[peer]\ndeny = ["{"0f" * 32}"]').peer.deny == ("0f" * 32,)
