"""Plugins that are installed: what they offer, and what happens when they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learnae import ConfigError, PluginError
from learnae.plugins.manager import PluginManager

Install = Callable[..., None]
Logged = list[dict[str, Any]]

OURS = {"learnae"}


def merges_of_others(manager: PluginManager) -> set[str]:
    return {name for name, offer in manager.offers("merge").items() if offer.plugin not in OURS}


def test_an_installed_plugin_is_offered_beside_our_own(install: Install, good: str) -> None:
    install("learnae-first", good, entry="first", version="2.1")
    manager = PluginManager.discover()
    assert merges_of_others(manager) == {"first"}
    offer = manager.offers("merge")["first"]
    assert (offer.plugin, offer.distribution, offer.version) == ("first", "learnae-first", "2.1")
    assert offer.load().__name__ == "First"
    assert offer.doc == "Keeps the own model."
    assert offer.options() == []
    ours = ("learnae", "learnae-first")  # not those that a developer has installed
    assert [plugin.name for plugin in manager.plugins if plugin.distribution in ours] == ["learnae", "first"]


def test_finding_plugins_imports_the_module_of_the_hook_and_nothing_else(install: Install) -> None:
    hook = """
        from learnae import hookimpl
        @hookimpl
        def learnae_register_gate():
            return {"heavy": "learnae_heavy.gate:Heavy"}
    """
    install("learnae-heavy", {"learnae_heavy/__init__.py": hook, "learnae_heavy/gate.py": "raise RuntimeError('too early')"})
    offer = PluginManager.discover().offers("gate")["heavy"]
    with pytest.raises(
        PluginError, match=r"plugin 'learnae-heavy' failed while loading the gate 'heavy': RuntimeError: too early"
    ) as caught:
        offer.load()
    assert isinstance(caught.value.__cause__, RuntimeError)


BROKEN = {
    "import": ("import a_library_that_is_not_there", "ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
    "exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "syntax": ("def", "SyntaxError"),
    "raises": ("def learnae_register_merge(): raise ValueError('no moon')", "running learnae_register_merge: ValueError: no moon"),
    "async": ("async def learnae_register_merge(): return {}", "learnae_register_merge is `async def`, but hooks are plain functions"),
    "generator": ("def learnae_register_merge(): yield {}", "learnae_register_merge is a generator"),
    "nothing": ("def learnae_register_merge(): pass", "it returned None and not a mapping from name to class"),
    "list": ("def learnae_register_merge(): return ['m:C']", "it returned ['m:C'] and not a mapping"),
    "number": ("def learnae_register_merge(): return {'m': 3}", "'m' stands for 3, which is neither a class nor"),
    "reference": ("def learnae_register_merge(): return {'m': 'package.module'}", "'m' stands for 'package.module', which is neither"),
    "name": ("def learnae_register_merge(): return {'a:b': 'm:C'}", "'a:b' is no name"),
    "hook": ("def learnae_register_merges(): return {}", 'is not a hook of Learnae: did you mean "learnae_register_merge"?'),
    "demo": ("def learnae_register_demo(): return {'frist': 'm:f'}", "'frist' is neither a storage nor an announcer of this plugin"),
    "demos": ("def learnae_register_demo(): return 'm:f'", "it returned 'm:f' and not a mapping"),
    "place": ("def learnae_register_demo(): return {'a': 3}", "'a' stands for 3, which is not"),
    "argument": ("def learnae_round_finished(rapport): pass", "rapport"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", BROKEN)
def test_a_broken_plugin_is_a_warning_that_names_it(install: Install, good: str, logged: Logged, flaw: str) -> None:
    code, words = BROKEN[flaw]
    install(
        "learnae-bad", f"from learnae import hookimpl\n{'@hookimpl' if code.startswith(('def l', 'async')) else ''}\n{code}", entry="bad"
    )
    install("learnae-first", good)
    manager = PluginManager.discover()
    assert "first" in manager.offers("merge")
    assert list(manager.broken) == ["bad"]
    assert words in str(manager.broken["bad"])
    (entry,) = logged
    assert (entry["log_level"], entry["event"], entry["plugin"], entry["distribution"]) == (
        "warning",
        "plugin.broken",
        "bad",
        "learnae-bad",
    )


def test_a_module_without_hooks_is_told_what_is_missing(install: Install) -> None:
    install("learnae-bare", "def learnae_register_merge(): return {}")
    assert "no function that is marked with @learnae.hookimpl" in str(PluginManager.discover().broken["learnae-bare"])


def test_a_plugin_with_one_bad_hook_offers_nothing(install: Install, good: str) -> None:
    install("learnae-half", good + "\n@hookimpl\ndef learnae_register_gate():\n    raise ValueError\n")
    assert merges_of_others(PluginManager.discover()) == set()


def test_a_hook_of_a_later_version_is_passed_over_if_the_plugin_says_so(install: Install, good: str) -> None:
    install("learnae-late", good + "\n@hookimpl(optionalhook=True)\ndef learnae_from_the_future():\n    raise ValueError\n")
    assert "first" in PluginManager.discover().offers("merge")


def test_a_broken_plugin_is_part_of_the_message_about_an_unknown_name(install: Install, tmp_path: Path) -> None:
    install("learnae-bad", "import a_library_that_is_not_there")
    with pytest.raises(ConfigError) as caught:
        PluginManager.discover().find("merge", "avrage", tmp_path)
    (problem,) = caught.value.problems
    assert problem.message.startswith(
        "no merge is called \"avrage\"; plugin 'learnae-bad' failed while importing learnae_bad: ModuleNotFound"
    )
    assert problem.suggestion == 'did you mean "average"?'


def test_two_plugins_that_offer_one_name_are_both_named(install: Install, good: str) -> None:
    install("learnae-first", good)
    install("learnae-primus", good)
    with pytest.raises(PluginError, match=r"'learnae-primus' failed while offering the merge 'first': plugin 'learnae-first'.*disable"):
        PluginManager.discover()


def test_a_name_of_ours_is_taken(install: Install, good: str) -> None:
    install("learnae-mean", good.replace('"first"', '"average"'))
    with pytest.raises(PluginError, match=r"'learnae-mean' failed while offering the merge 'average': plugin 'learnae' of learnae"):
        PluginManager.discover()


def test_the_same_name_of_two_kinds_is_no_clash(install: Install) -> None:
    install("learnae-two", """
        from learnae import hookimpl
        @hookimpl
        def learnae_register_merge(): return {"clip": "learnae_two:Merge"}
    """)  # fmt: skip
    manager = PluginManager.discover()
    assert manager.offers("merge")["clip"].plugin != manager.offers("gate")["clip"].plugin


@pytest.mark.parametrize("name", ["learnae-first", "learnae_first", "Learnae.First", "one"])
def test_a_plugin_is_disabled_by_its_own_name_or_that_of_its_distribution(install: Install, good: str, tmp_path: Path, name: str) -> None:
    install("learnae-first", good, entry="one")
    manager = PluginManager.discover(disable=[name])
    with pytest.raises(ConfigError, match=r"not loaded, because of .plugins. disable or LEARNAE_PLUGINS: one"):
        manager.find("merge", "first", tmp_path)


def test_a_clash_is_solved_by_disabling_one(install: Install, good: str) -> None:
    install("learnae-first", good)
    install("learnae-primus", good)
    assert PluginManager.discover(disable=["learnae-first"]).offers("merge")["first"].plugin == "learnae-primus"


def test_a_disabled_plugin_is_not_even_imported(install: Install, logged: Logged) -> None:
    install("learnae-bad", "raise RuntimeError")
    assert PluginManager.discover(disable=["learnae-bad"]).broken == {}
    assert logged == []


@pytest.mark.parametrize(("only", "expected"), [("learnae-first", {"first"}), (" one , two", {"first"}), ("", set())])
def test_the_environment_can_restrict_third_party_plugins(
    install: Install, good: str, monkeypatch: pytest.MonkeyPatch, only: str, expected: set[str]
) -> None:
    install("learnae-first", good, entry="one")
    install("learnae-other", good.replace('"first"', '"other"'))
    monkeypatch.setenv("LEARNAE_PLUGINS", only)
    assert merges_of_others(PluginManager.discover()) == expected
    assert merges_of_others(PluginManager.discover(only=["learnae-other"])) == {"other"}


def test_a_name_that_no_plugin_has_is_a_warning(logged: Logged) -> None:
    PluginManager.discover(disable=["learnae-frist"])
    assert [(entry["event"], entry["name"]) for entry in logged] == [("plugin.unknown", "learnae-frist")]


def test_hook_calls_can_be_traced(install: Install, good: str, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    install("learnae-first", good)
    monkeypatch.setenv("LEARNAE_TRACE_HOOKS", "1")
    PluginManager.discover()
    assert ("learnae-first", "learnae_register_merge") in [(entry["plugin"], entry["hook"]) for entry in logged]


def test_a_demo_belongs_to_the_storages_and_announcers_of_its_plugin(install: Install) -> None:
    install("learnae-house", """
        from learnae import hookimpl
        @hookimpl
        def learnae_register_storage(): return {"house": "learnae_house:Storage", "cellar": "learnae_house:Storage"}
        @hookimpl
        def learnae_register_merge(): return {"house": "learnae_house:Merge"}
        @hookimpl
        def learnae_register_demo(): return {"house": "learnae_house.demo:start"}
    """)  # fmt: skip
    manager = PluginManager.discover()
    assert manager.offers("storage")["house"].demo == "learnae_house.demo:start"
    assert (manager.offers("storage")["cellar"].demo, manager.offers("merge")["house"].demo) == (None, None)


def test_two_managers_share_nothing(install: Install, good: str) -> None:
    empty = PluginManager.discover()
    install("learnae-first", good)
    assert "first" in PluginManager.discover().offers("merge")
    assert "first" not in empty.offers("merge")
