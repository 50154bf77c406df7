"""Strategies that raise whatever can be raised, wherever they are called: each is named, none ends its node, and the others go on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from structlog.testing import capture_logs

from learnae.errors import ConfigError, PluginError, Problem, UnavailableError, UpdateRejectedError
from learnae.plugins.codec import Fp32
from learnae.plugins.memory import MemoryAnnouncer, MemoryStorage
from learnae.plugins.merge import Average
from learnae.records import Encoded, Judged, Merged, Verdict
from learnae.strategies import Gate, Selector
from tests.support.simulated import outcomes


class Boom(BaseException):
    """No Exception, as some libraries raise it."""


ERRORS = {
    "exception": lambda: RuntimeError("boom"),
    "exit": lambda: SystemExit(3),
    "base exception": lambda: Boom("boom"),
    "end of iteration": StopIteration,
    "end of async iteration": StopAsyncIteration,
    "an outage": lambda: UnavailableError("boom"),
    "a peer's mistake": lambda: UpdateRejectedError("boom"),
    "the user's mistake": lambda: ConfigError(Problem("a", "boom")),
    "another plugin's mistake": lambda: PluginError("other", "doing", "boom"),
    "a group": lambda: BaseExceptionGroup("g", [UnavailableError("x"), SystemExit(3)]),
    "nested groups": lambda: ExceptionGroup("g", [ExceptionGroup("h", [ValueError("boom")]), UnavailableError("x")]),
}


class Wrong:
    """What is raised, by whichever strategy; set by the test."""

    error = staticmethod(lambda: RuntimeError("boom"))


class WrongSelector(Selector):
    def select(self, view):
        raise Wrong.error()


class WrongGate(Gate):
    def judge(self, local, received, state):
        raise Wrong.error()


class WrongMerge(Average):
    def merge(self, local, received, state):
        raise Wrong.error()


class LateMerge(Average):
    """Breaks while its tensors are drawn."""

    def merge(self, local, received, state):
        class Tensors:
            def __iter__(self):
                return self

            def __next__(self):
                raise Wrong.error()

        return Merged(Tensors())


class WrongCodec(Fp32):
    def encode(self, name, tensor, base, rng):
        raise Wrong.error()


class WrongStorage(MemoryStorage):
    async def put(self, root, blocks):
        raise Wrong.error()

    async def get(self, cids, deliver, *, hints=()):
        raise Wrong.error()

    async def drop(self, root):
        raise Wrong.error()

    async def roots(self):
        raise Wrong.error()

    def hints(self):
        raise Wrong.error()


class WrongAnnouncer(MemoryAnnouncer):
    async def announce(self, message, *, channel, replaces):
        raise Wrong.error()

    async def listen(self, channels, deliver):
        raise Wrong.error()


class Reborn(Average):
    """Its values raise when they are thrown away."""

    def merge(self, local, received, state):
        class Raising:
            def __del__(self):
                raise RuntimeError("boom")

        Raising()
        return super().merge(local, received, state)


KINDS = {
    "selector": WrongSelector,
    "gate": WrongGate,
    "merge": WrongMerge,
    "codec": WrongCodec,
    "storage": WrongStorage,
    "announcer": WrongAnnouncer,
}
STRATEGIES = {kind: {"wrong": cls} for kind, cls in KINDS.items()} | {"merge": {"wrong": WrongMerge, "late": LateMerge, "reborn": Reborn}}


CHOICES = {kind: {kind: {"use": "wrong"}} for kind in KINDS} | {"late merge": {"merge": {"use": "late"}}}

LARGE = [{"w": np.full((64, 64), value, np.float32)} for value in (0.0, 8.0)]  # enough to be encoded


def told(logs) -> list[str]:
    """All that a says about what went wrong."""
    return [str(line) for line in logs if line.get("own") == "a" and line["log_level"] in ("warning", "error")]


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("settings", CHOICES.values(), ids=CHOICES.keys())
def test_whatever_a_strategy_raises_its_node_makes_its_rounds_and_says_who_it_was(run_world, monkeypatch, settings, error):
    monkeypatch.setattr(Wrong, "error", staticmethod(error))
    with capture_logs() as logs:
        a, b = run_world(lambda world: world.two_for(15.5, *copy.deepcopy(LARGE), **settings), strategies=STRATEGIES)
    assert len(a.trainer.reports) >= 10 and len(b.trainer.reports) >= 10
    assert float(a.trainer.model["w"][0, 0]) == 0.0 or "codec" in settings or "announcer" in settings
    (kind,) = settings
    assert any("bad-luck" in line or "other" in line or f"{kind} wrong" in line for line in told(logs))


def test_what_raises_when_it_is_thrown_away_changes_nothing(run_world, recwarn):
    a, _ = run_world(lambda world: world.two_for(15.5, *copy.deepcopy(LARGE), merge={"use": "reborn"}), strategies=STRATEGIES)
    assert "merged" in {*outcomes(a)}


# -- answers of the wrong type -----------------------------------------------------------------------------------------------------


ANSWERS = [None, 7, "text", [None], {"w": 1}, np.zeros(3), object()]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", ["selector", "gate", "merge", "codec", "codec that knows"])
def test_an_answer_of_the_wrong_type_is_the_plugins_mistake(run_world, kind, answer):
    class Chooses(Selector):
        def select(self, view):
            return answer

    class Judges(Gate):
        def judge(self, local, received, state):
            return answer

    class Merges(Average):
        def merge(self, local, received, state):
            return answer

    class Encodes(Fp32):
        def encode(self, name, tensor, base, rng):
            return answer

    class Knows(Fp32):
        def finite(self, encoded):
            return answer

    codecs = {"odd": Knows if kind == "codec that knows" else Encodes}
    strategies = {"selector": {"odd": Chooses}, "gate": {"odd": Judges}, "merge": {"odd": Merges}, "codec": codecs}
    settings = {kind.partition(" ")[0]: {"use": "odd"}}
    with capture_logs() as logs:
        a, b = run_world(lambda world: world.two_for(15.5, *copy.deepcopy(LARGE), **settings), strategies=strategies)
    assert len(a.trainer.reports) >= 10 and len(b.trainer.reports) >= 10
    assert any("bad-luck" in line for line in told(logs)) or kind == "codec that knows"  # of which each has a truth, or it is not asked


ENCODINGS = {
    "text": Encoded("text"),
    "no meta": Encoded(b"x", None),
    "meta by numbers": Encoded(b"x", {1: 2}),
    "meta of nothing": Encoded(b"x", {"a": None}),
    "meta of numpy": Encoded(b"x", {"a": np.float32(1)}),
    "a list": Encoded(b"x", [1]),
}


@pytest.mark.parametrize("encoded", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_an_encoding_of_the_wrong_form_is_the_codecs_mistake(run_world, encoded):
    class Encodes(Fp32):
        def encode(self, name, tensor, base, rng):
            return encoded

    with capture_logs() as logs:
        a, _ = run_world(
            lambda world: world.two_for(15.5, *copy.deepcopy(LARGE), codec={"use": "odd"}), strategies={"codec": {"odd": Encodes}}
        )
    assert len(a.trainer.reports) >= 10
    assert any("bad-luck" in line for line in told(logs))


def test_verdicts_of_the_wrong_number_lose_the_updates_and_refuse_none(run_world):
    class Counts(Gate):
        def judge(self, local, received, state):
            return Judged([Verdict()] * (len(received) + 1))

    a, _ = run_world(
        lambda world: world.two_for(15.5, *copy.deepcopy(LARGE), gate={"use": "counts"}), strategies={"gate": {"counts": Counts}}
    )
    assert sum(report.lost for report in a.trainer.reports) > 0
    assert sum(report.refused for report in a.trainer.reports) == 0
