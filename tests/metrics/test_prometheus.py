"""What Prometheus is told, counted by hand, and what the page of the documentation promises."""

from __future__ import annotations

import json
import re
import socket
import sys
import types
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
from prometheus_client import generate_latest

from learnae.config.load import load_document
from learnae.errors import ConfigError
from learnae.observations import RoundReport, UpdateVerdict
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.observers import observing, prometheus
from learnae.plugins.observers.http_server import serving_http
from learnae.plugins.observers.prometheus import KEPT_PEERS, Prometheus
from learnae.records import Cid, PeerId
from tests.support.hostile.texts import WORST, is_harmless

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ME, ALICE = PeerId("ab" * 32), PeerId("a" * 64)


def report(**fields: Any) -> RoundReport:
    told = {"round": 1, "seconds": 0.5, "lineage": b"12345678", "age": 40, "published": None, "published_bytes": 1000}
    more = {"fetched_bytes": 3000, "heard": 2, "chosen": 2, "merged": 1, "refused": 1, "failed": 0, "outcome": "merged"}
    return RoundReport(**{**told, **more, **fields})


def verdict(*, merged: bool, stage: str, peer: PeerId = ALICE) -> UpdateVerdict:
    return UpdateVerdict(
        round=1,
        peer=peer,
        number=1,
        root=Cid("bafy"),
        merged=merged,
        weight=1.0,
        scale=1.0,
        stage=stage,
        reason="a reason with the words of a stranger",
    )


def told(observer: Prometheus, name: str, **labels: str) -> float | None:
    return observer.registry.get_sample_value(name, labels)


def config(**metrics: str) -> Any:
    manager = PluginManager.discover()
    return load_document({"swarm": {"name": "watched"}, "metrics": metrics}, folder=Path.cwd(), options_of=manager.options_of(Path.cwd()))


def test_no_label_does_anything_to_a_terminal_that_shows_the_numbers() -> None:
    observer = Prometheus(WORST)
    observer.learnae_round_finished(report(outcome=WORST))
    observer.learnae_update_judged(verdict(merged=False, stage=WORST))
    shown = generate_latest(observer.registry).decode()
    assert is_harmless(shown) and "FAKED" in shown
    assert not any(line.startswith("FAKED") for line in shown.split("\n"))


def test_two_rounds_are_counted_and_the_gauges_show_the_last() -> None:
    observer = Prometheus("s")
    observer.learnae_round_finished(report())
    observer.learnae_round_finished(report(seconds=0.25, age=60, outcome="alone", heard=0, fetched_bytes=0, splits=(b"x", b"y")))
    assert told(observer, "learnae_rounds_total", outcome="merged") == told(observer, "learnae_rounds_total", outcome="alone") == 1
    assert told(observer, "learnae_round_seconds_sum") == 0.75
    assert told(observer, "learnae_round_seconds_bucket", le="0.25") == 1
    assert told(observer, "learnae_published_bytes_total") == 2000
    assert told(observer, "learnae_fetched_bytes_total") == 3000
    assert [told(observer, f"learnae_{name}") for name in ("model_age_steps", "fresh_updates", "splits")] == [60, 0, 2]


def test_what_was_measured_is_shown_under_a_bounded_number_of_names(monkeypatch) -> None:
    monkeypatch.setattr(prometheus, "KEPT_METRICS", 2)
    observer = Prometheus("s")
    observer.learnae_round_finished(report(metrics={"loss": 2.0, "accuracy": 0.5}))
    observer.learnae_round_finished(report(metrics={"loss": 1.0, "one too many": 3.0}))
    shown = [told(observer, "learnae_evaluation", metric=name) for name in ("loss", "accuracy", "one too many")]
    assert shown == [1.0, 0.5, None]


def test_updates_are_counted_by_fate_and_stage() -> None:
    observer = Prometheus("s")
    for merged, stage in [(True, "merge"), (False, "sane"), (False, "sane"), (False, "fetch"), (False, "merge"), (False, "plugin")]:
        observer.learnae_update_judged(verdict(merged=merged, stage=stage))
    observer.learnae_update_judged(attrs.evolve(verdict(merged=True, stage="clip"), scale=0.5))
    observer.learnae_update_judged(verdict(merged=True, stage="clip"))
    counts = {
        ("merged", "merge"): 2,
        ("merged", "scaled by gate clip"): 1,
        ("refused", "gate sane"): 2,
        ("failed", "fetch"): 1,
        ("refused", "merge"): 1,
        ("lost", "plugin"): 1,
    }
    assert {pair: told(observer, "learnae_updates_total", fate=pair[0], stage=pair[1]) for pair in counts} == counts


@pytest.mark.parametrize(
    ("states", "last"),
    [
        (["new"], "heard"),
        (["new", "silent"], "silent"),
        (["new", "silent", "back"], "heard"),
        (["new", "left"], "left"),
        (["new", "left", "silent"], "left"),
        (["new", "left", "silent", "back"], "heard"),
    ],
)
def test_a_peer_is_counted_once_in_its_last_state(states: list[str], last: str) -> None:
    observer = Prometheus("s")
    for state in states:
        observer.learnae_peer_changed(ALICE, state)
    counts = {state: told(observer, "learnae_peers", state=state) for state in ("heard", "silent", "left")}
    assert counts == {"heard": 0, "silent": 0, "left": 0, last: 1}


def test_a_flood_of_peers_fills_neither_memory_nor_labels() -> None:
    observer = Prometheus("s")
    for number in range(KEPT_PEERS + 100):
        observer.learnae_peer_changed(PeerId(f"{number:064x}"), "new")
        observer.learnae_update_judged(verdict(merged=False, stage="sane", peer=PeerId(f"{number:064x}")))
    assert told(observer, "learnae_peers", state="heard") == KEPT_PEERS
    samples = [sample for family in observer.registry.collect() for sample in family.samples]
    assert len(samples) < 60
    assert not any("0000" in value or "stranger" in value for sample in samples for value in sample.labels.values())


def test_two_nodes_of_one_process_do_not_share_their_numbers() -> None:
    one, other = Prometheus("s"), Prometheus("s")
    one.learnae_round_finished(report())
    assert told(other, "learnae_rounds_total", outcome="merged") is None


def test_the_page_names_every_metric_with_its_type_its_labels_and_its_words() -> None:
    observer = Prometheus("s")
    observer.learnae_round_finished(report(metrics={"loss": 0.5}))
    observer.learnae_update_judged(verdict(merged=True, stage="merge"))
    made = set()
    for family in observer.registry.collect():
        if family.name.startswith("learnae_"):
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            made.add((family.name, family.type, ", ".join(f"`{label}`" for label in labels), family.documentation))
    rows = re.findall(r"^\| `(learnae_\w+)` \| (\w+) \| ?(.*?) ?\| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert set(rows) == made and len(rows) == len(made)


def test_the_observer_of_the_page_does_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module, manager = types.ModuleType("my_watcher"), PluginManager()
    exec(code, vars(module))
    manager.register(module, Plugin("my-watcher"))
    for merged in (True, False):
        manager.notify("learnae_update_judged", verdict=verdict(merged=merged, stage="sane"))
    (line,) = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["why"] == "a reason with the words of a stranger"


def test_it_is_served_and_registered_while_it_is_on_and_closed_after() -> None:
    manager = PluginManager()
    with structlog.testing.capture_logs() as logs, observing(config(prometheus="127.0.0.1:0"), manager, ME):
        url = logs[-1]["url"]
        manager.notify("learnae_round_finished", report=report())
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert 'learnae_rounds_total{outcome="merged"} 1.0' in answer.read().decode()
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/metrics", url)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)


def test_without_keys_nothing_is_registered() -> None:
    manager = PluginManager()
    with observing(config(), manager, ME):
        assert manager.plugins == []


@pytest.mark.parametrize("address", ["9464", "127.0.0.1", "http://127.0.0.1:9464", "::1:9464", ":9464", ""])
def test_what_is_no_address_is_refused_with_the_file(address: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.prometheus: .*address:port"):
        config(prometheus=address)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "203.0.113.1:9464"], ids=["no such port", "no address of this machine"])
def test_an_address_that_cannot_be_used_is_named_with_its_key(address: str) -> None:
    with (
        pytest.raises(ConfigError, match=rf"metrics\.prometheus: cannot listen at {address}"),
        observing(config(prometheus=address), PluginManager(), ME),
    ):
        raise AssertionError


def test_a_port_that_is_taken_is_named_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"already in use.*port 0"), serving_http(address, lambda *_: [], "metrics.prometheus"):
            raise AssertionError


@pytest.mark.parametrize(("name", "package"), [("prometheus", "prometheus_client"), ("tensorboard", "tensorboard")])
def test_a_package_that_is_missing_is_named_with_the_way_to_install_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, f"learnae.plugins.observers.{name}", raising=False)
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    metrics = {"prometheus": "127.0.0.1:0", "tensorboard": str(tmp_path)}
    with (
        pytest.raises(ConfigError, match=rf'metrics\.{name}: .*{package}.*pip install "learnae\[{name}\]'),
        observing(config(**{name: metrics[name]}), PluginManager(), ME),
    ):
        raise AssertionError
