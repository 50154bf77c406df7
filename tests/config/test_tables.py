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
    assert [gate.use for gate in config.gate] == ["sane", "clip"]
    assert (config.merge.use, config.codec.use, config.outer) == ("average", "int8", None)


def test_an_unknown_key_is_refused_with_the_nearest_known_one(problems: Problems) -> None:
    assert problems("[train]\nlocal_step = 3") == ['train.local_step: is not a key of this table (did you mean "local_steps"?)']


def test_an_unknown_key_that_is_near_to_none_hears_all_of_them(problems: Problems) -> None:
    assert problems("[model]\nx = 3") == ["model.x: is not a key of this table (known: keep_local)"]


def test_an_unknown_table_is_refused_with_the_nearest_known_one(problems: Problems) -> None:
    assert problems("[storrage]") == ['storrage: is not a table of this file (did you mean "storage"?)']


def test_a_key_outside_of_all_tables_is_told_where_it_belongs(problems: Problems) -> None:
    assert problems("local_steps = 3") == ["local_steps: is not a table of this file (it belongs in [train])"]


def test_a_key_that_is_not_bare_is_quoted_in_the_problem(problems: Problems) -> None:
    (problem,) = problems('[model]\n"a.b\\n" = 1')
    assert problem.startswith(r'model."a.b\n": is not a key')


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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("patience = -1", "must be at least 0.0, not -1.0"),
        ("patience = 1.5", "must be at most 1.0, not 1.5"),
        ("local_steps = 0", "must be more than 0, not 0"),
        ('entry = "train"', 'must be "module:function", not "train"'),
    ],
)
def test_a_bound_is_named_in_plain_words(problems: Problems, line: str, words: str) -> None:
    assert problems(f"[train]\n{line}") == [f"train.{line.split()[0]}: {words}"]


def test_the_options_of_a_strategy_stand_beside_its_name(read: Read) -> None:
    config = read('[[gate]]\nuse = "clip"\ntrim = 0.3\n[selector]\ncount = 4\n[[storage]]\nuse = "directory"\nwrite = false')
    assert config.gate[0].options.trim == 0.3
    assert config.selector == SelectorChoice("least-recently-tried", NoOptions(), count=4)
    assert config.storage[0].write is False


def test_a_validator_of_a_strategy_speaks_in_plain_words(problems: Problems) -> None:
    assert problems('[gate]\nuse = "clip"\ntrim = 0.5') == ["gate.trim: must be less than 0.5, not 0.5"]


def test_an_unknown_option_hears_the_keys_of_the_table_and_of_the_strategy(problems: Problems) -> None:
    assert problems('[[gate]]\nuse = "clip"\nlimit = 1') == ["gate[0].limit: is not a key of this table (known: trim, use)"]


def test_a_validator_may_look_at_other_fields(problems: Problems, read: Read) -> None:
    assert problems('[merge]\nuse = "between"\nlow = 20') == ["merge.high: must be above low"]
    assert read('[merge]\nuse = "between"\nlow = 20\nhigh = 21').merge.options.high == 21.0


def test_every_field_is_validated_and_not_only_up_to_the_first_that_fails(problems: Problems) -> None:
    found = problems('[merge]\nuse = "checked"\nnames = ["a", "B"]\nsize = 5')
    assert [problem.split(":")[0] for problem in found] == ["merge.names", "merge.size"]
    assert found[1] == "merge.size: must be less than 5, not 5"


def test_what_a_class_says_about_the_whole_stands_at_the_table(problems: Problems) -> None:
    assert problems('[merge]\nuse = "checked"\nsize = 4') == ["merge: four brings bad luck"]


@pytest.mark.parametrize(
    ("lines", "key"),
    [('use = "checked"\nsize = 3', "merge"), ('use = "computed"\nparts = 0', "merge.share")],
    ids=["the whole", "a default"],
)
def test_whatever_options_raise_while_they_are_made_is_a_problem_of_the_file(problems: Problems, lines: str, key: str) -> None:
    (problem,) = problems(f"[merge]\n{lines}")
    assert problem.startswith(f"{key}: is refused: ZeroDivisionError")


def test_an_unknown_strategy_is_a_problem_at_its_name(problems: Problems) -> None:
    assert problems('[merge]\nuse = "avrage"') == ['merge.use: no merge is called "avrage" (did you mean "average"?)']


@pytest.mark.parametrize("kind", ["storage", "announcer", "gate"])
def test_several_may_stand_as_one_table_or_as_a_list_of_tables(read: Read, kind: str) -> None:
    use = {"gate": "sane"}.get(kind, "directory")
    single, listed = read(f'[{kind}]\nuse = "{use}"'), read(f'[[{kind}]]\nuse = "{use}"')
    assert getattr(single, kind) == getattr(listed, kind) == (getattr(listed, kind)[0],)


@pytest.mark.parametrize("kind", ["selector", "merge", "outer", "codec", "train"])
def test_all_others_stand_once(problems: Problems, kind: str) -> None:
    assert problems(f"[[{kind}]]") == [f"{kind}: must be a single table (write [{kind}] once)"]


@pytest.mark.parametrize("kind", ["storage", "announcer"])
def test_a_peer_has_at_least_one_storage_and_one_announcer(problems: Problems, kind: str) -> None:
    assert problems(f"{kind} = []") == [f"{kind}: needs at least one (write [[{kind}]])"]


def test_a_peer_may_do_without_gates(read: Read) -> None:
    assert read("gate = []").gate == ()


def test_a_name_where_a_table_must_be_is_refused(problems: Problems) -> None:
    assert problems('gate = ["clip"]') == ['gate[0]: must be a table, not "clip" (write [[gate]] and its keys below it)']
    assert problems('merge = "average"') == ['merge: must be a table, not "average" (write [merge] and its keys below it)']


@pytest.mark.parametrize("table", ["[[gate]]", "[outer]"])
def test_a_strategy_without_a_default_needs_a_name(problems: Problems, table: str) -> None:
    (problem,) = problems(table)
    assert problem.split(" (")[0] in ("gate[0].use: is missing", "outer.use: is missing")


def test_an_option_without_a_default_is_missed(problems: Problems) -> None:
    assert problems('[merge]\nuse = "rich"') == ["merge.whole: is missing (write an integer here)"]


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
