"""Codecs that peers name are looked up among what is installed, and never imported by their name."""

from __future__ import annotations

import sys

import pytest

import learnae
from learnae.config.load import load_document
from learnae.errors import UpdateRejectedError
from learnae.identity.keys import Identity, verify
from learnae.node.strategy_set import ConfiguredStrategy, assemble, told_apart
from learnae.plugins.codec import Fp32
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.testing.context import make_runtime


class Fussy(Fp32):
    def __init__(self, options, context) -> None:
        raise ValueError("not today")


class Offers:
    @learnae.hookimpl
    def learnae_register_codec(self):
        return {"fussy": Fussy, "absent": "no_such_module:Codec"}


@pytest.fixture
def strategies(tmp_path):
    manager = PluginManager.discover(only=())
    manager.register(Offers(), Plugin("third-party"))

    def make(**tables):
        document = {"storage": {"use": "memory"}, "announcer": {"use": "memory"}, **tables}
        config = load_document(document, folder=tmp_path, options_of=manager.options_of(tmp_path))
        return assemble(config, manager, Identity.generate(bytes(32)).peer, make_runtime(tmp_path))

    return make


def test_the_own_codec_decodes_by_its_own_options_and_others_by_their_defaults(strategies):
    made = strategies(codec={"use": "fp32"})
    assert made.codec_named("fp32") is made.codec
    assert made.codec_named("int8") is made.codec_named("int8")
    assert made.codec_named("int8").name == "int8"


@pytest.mark.parametrize("name", ["os:system", "my_file:Codec", "../evil:Codec", "", "nope", "learnae.plugins.codec:Fp32"])
def test_a_name_that_is_not_installed_is_refused_and_imports_nothing(strategies, name, tmp_path):
    (tmp_path / "my_file.py").write_text("raise SystemExit('imported')")
    before = set(sys.modules)
    with pytest.raises(UpdateRejectedError, match="unknown-codec"):
        strategies().codec_named(name)
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["fussy", "absent"])
def test_an_installed_codec_that_cannot_be_made_refuses_the_update_and_names_its_plugin(strategies, name):
    with pytest.raises(UpdateRejectedError, match=r"unusable-codec.*'third-party'"):
        strategies().codec_named(name)


def test_two_storages_of_one_name_are_told_apart(strategies, tmp_path):
    one, two = ({"use": "directory", "path": str(tmp_path / name)} for name in ("one", "two"))
    made = strategies(storage=[one, two, {"use": "memory"}])
    assert [named.label for named in made.storages] == ["storage directory", "storage directory (2)", "storage memory"]


@pytest.mark.parametrize("name", ["memory", "./copy (1).py:Mine"])
def test_two_of_one_name_are_told_apart_whatever_it_is_and_other_kinds_do_not_count(name):
    made = [ConfiguredStrategy(name, "p", None, label=f"gate {name}")]
    for _ in range(3):
        made.append(told_apart(ConfiguredStrategy(name, "p", None, label=f"storage {name}"), made))
    assert [one.label for one in made[1:]] == [f"storage {name}", f"storage {name} (2)", f"storage {name} (3)"]


class Signer(Fp32):
    pass


class OffersSigner:
    @learnae.hookimpl
    def learnae_register_codec(self):
        return {"signer": Signer}


def a_context(folder, **sign):
    manager = PluginManager.discover(only=())
    manager.register(OffersSigner(), Plugin("third-party"))
    document = {"storage": {"use": "memory"}, "announcer": {"use": "memory"}, "codec": {"use": "signer"}}
    config = load_document(document, folder=folder, options_of=manager.options_of(folder))
    peer = Identity.generate(bytes(32)).peer
    return assemble(config, manager, peer, make_runtime(folder), **sign).codec.strategy.context


def test_a_strategy_can_sign_as_the_peer(tmp_path):
    context = a_context(tmp_path, sign=Identity.generate(bytes(32)).sign_for_plugin)
    assert verify(context.peer, context.sign(b"noise-libp2p-static-key:..."), b"noise-libp2p-static-key:...")


@pytest.mark.parametrize("message", [b"learnae/announcement/1...", b"learnae/", bytearray(b"learnae/x"), memoryview(b"learnae/x")])
def test_a_strategy_cannot_sign_what_could_be_taken_for_a_message_of_learnae(tmp_path, message):
    context = a_context(tmp_path, sign=Identity.generate(bytes(32)).sign_for_plugin)
    with pytest.raises(ValueError, match="learnae/"):
        context.sign(message)


def test_where_a_command_only_looks_nothing_is_signed(tmp_path):
    with pytest.raises(ValueError, match="no key"):
        a_context(tmp_path).sign(b"anything")
