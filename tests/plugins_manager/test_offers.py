"""An offer is checked against its kind before anybody builds on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from learnae import Announcer, ElementwiseMerge, Gate, PluginError, Storage
from learnae.plugins.hooks import BASES
from learnae.plugins.manager import PluginManager
from learnae.plugins.offers import StrategyOffer
from learnae.strategies import Strategy


class Halfway(Storage):
    async def roots(self) -> list[str]:  # type: ignore[override]
        return []


class Unbounded(Announcer):
    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None: ...
    async def listen(self, channels: object, deliver: object) -> None: ...


class Untyped(ElementwiseMerge):
    Options = dict

    def combine(self, stacked: object, weights: object) -> object:
        return None


@pytest.mark.parametrize(
    ("kind", "target", "cause"),
    [
        ("storage", Halfway, "Halfway does not define drop, get, put"),
        ("gate", Untyped, "Untyped does not derive from learnae.Gate"),
        ("announcer", Unbounded, "Unbounded does not define max_bytes"),
        ("merge", Untyped, "Untyped.Options is not an attrs class"),
        ("merge", "os:path", "is not a class"),
        ("merge", "os:Path", "AttributeError: module 'os' has no attribute 'Path'"),
        ("merge", "no_such_module:Merge", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("gate", Gate, "Gate does not define judge"),
    ],
)
def test_a_class_that_breaks_its_contract_is_refused_with_plugin_and_flaw(kind: str, target: str | type, cause: str) -> None:
    with pytest.raises(PluginError) as caught:
        StrategyOffer(kind, "x", "a-plugin", target).load()
    assert (caught.value.plugin, caught.value.action) == ("a-plugin", f"loading the {kind} 'x'")
    assert cause in caught.value.cause


def test_there_is_something_built_in_of_every_kind() -> None:
    manager = PluginManager.discover(only=[])
    assert {kind for kind in BASES if not manager.offers(kind)} == set()


def offers() -> list[StrategyOffer]:
    manager = PluginManager.discover(only=[])
    return [offer for kind in BASES for offer in manager.offers(kind).values()]


@pytest.mark.parametrize("offer", offers(), ids=lambda offer: f"{offer.kind}-{offer.name}")
def test_our_own_keep_their_contract_and_are_documented(offer: StrategyOffer) -> None:
    assert issubclass(offer.load(), BASES[offer.kind])
    assert offer.doc
    assert [key.key for key in offer.options() if not key.doc] == []
    assert attrs.has(offer.load().Options)


def test_a_mapping_of_offers_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PluginManager().offers("merge")["x"] = StrategyOffer("merge", "x", "p", Strategy)  # type: ignore[index]


def test_listing_what_there_is_imports_no_strategy(tmp_path: Path) -> None:
    code = """
        import sys
        from learnae.plugins.manager import PluginManager
        manager = PluginManager.discover(only=[])
        assert manager.offers("merge"), "nothing built in"
        heavy = ("learnae.plugins.merge.", "learnae.plugins.storage.", "torch", "numpy", "trio")
        loaded = [name for name in sys.modules if name.startswith(heavy)]
        assert not loaded, loaded
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    subprocess.run([sys.executable, "-c", lines], check=True, cwd=Path(__file__).parents[2])
