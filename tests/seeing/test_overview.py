"""What several homes say together, and when a home is read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.cli.dashboard import watching
from learnae.cli.dashboard.figures import as_data, draw_measured, draw_traffic
from learnae.cli.dashboard.graph import arrows_of, draw_graph, nodes_of
from learnae.cli.dashboard.overview import MOST_POINTS, names_of, overview_of, reasons_of, thinned, view_of
from learnae.cli.dashboard.watching import Watch
from learnae.errors import ConfigError
from learnae.node.contributions import Contribution
from learnae.texts import as_json
from tests.support.hostile.texts import WORST, is_harmless


def test_a_home_that_cannot_be_read_hides_no_other(lived, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "history.sqlite").write_text("no database")
    good, bad = overview_of([lived("good").path, broken]).homes
    assert good.error is None and good.facts["rounds"] == 41
    assert "history" in bad.error


def test_homes_are_called_as_shortly_as_they_can_be_told_apart():
    homes = [Path("/a/digits/peer-1"), Path("/a/letters/peer-1"), Path("/a/digits/peer-2"), Path("/b/digits/peer-2"), Path("/a/one")]
    assert names_of(homes) == ["digits/peer-1", "letters/peer-1", "/a/digits/peer-2", "/b/digits/peer-2", "one"]


@given(st.integers(0, 3 * MOST_POINTS), st.integers(2, MOST_POINTS))
def test_a_thinned_curve_keeps_its_ends_and_its_order(length, most):
    curve = [(float(place), place, 0.0) for place in range(length)]
    kept = thinned(curve, most)
    assert len(kept) == min(length, most)
    assert list(kept) == sorted(set(kept))
    assert not curve or (kept[0], kept[-1]) == (curve[0], curve[-1])


def test_bytes_are_added_up_to_the_totals_of_all_runs(lived):
    home = lived()
    home.happened(home.verdict(round=42), round=42, fetched_bytes=100, published_bytes=0)
    view = view_of(home.path, "one")
    assert [value for *_, value in view.fetched] == [3000, 3100]
    assert [value for *_, value in view.published] == [1500, 1500]


def test_what_a_peer_measured_is_a_curve_from_its_first_value_to_its_last(lived):
    home = lived()
    for round_, accuracy in ((42, 0.5), (43, 0.75)):
        home.happened(round=round_, age=20 * round_, metrics={"accuracy": accuracy})
    view = view_of(home.path, "one")
    assert [(age, value) for _, age, value in view.measured["accuracy"]] == [(840, 0.5), (860, 0.75)]
    [curve] = draw_measured(overview_of([home.path]), "accuracy")["data"]
    assert (curve["y"], curve["steps"]) == ([0.5, 0.75], [840, 860])


def test_reasons_that_differ_in_numbers_alone_are_one(lived):
    home = lived()
    late = [home.verdict(merged=False, stage="fetch", reason=f"nothing whole within 0.{n} s") for n in range(3)]
    far = home.verdict(merged=False, stage="clip", reason="too-far: norm 3 over 2")
    assert [(one.stage, one.reason, one.count) for one in reasons_of([*late, far])] == [
        ("fetch", "nothing whole within … s", 3),
        ("clip", "too-far", 1),
    ]


def test_texts_that_others_wrote_do_nothing(lived):
    home = lived()
    worst = WORST.encode(errors="ignore").decode()  # SQLite takes no halves of surrogates
    home.happened(home.verdict(round=42, merged=False, stage=worst, reason=worst), round=42, outcome=worst, metrics={worst[:60]: 1.0})
    home.heard(counts={worst: 3})
    told = as_data(overview_of([home.path]))
    assert all(is_harmless(text) for text in _texts(told))


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (str(key), *_texts(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def test_no_text_is_read_as_a_tag_where_plotly_draws_it(lived):
    home = lived("<b>home")
    home.happened(round=42, metrics={"<a href=x>": 0.5})
    overview = overview_of([home.path])
    [curve] = draw_measured(overview, "<a href=x>")["data"]
    assert curve["name"] == "&lt;b&gt;home"
    drawn = [draw_graph(overview, "digits"), draw_traffic(overview), draw_measured(overview, "<a href=x>")]
    assert not any("<b>" in text or "<a" in text for text in _texts(drawn))


def test_an_arrow_leads_from_who_gave_to_who_merged(lived):
    one, other = lived("one"), lived("other")
    one.happened(round=42, given={other.own: Contribution(merged=9), one.alice: Contribution(merged=1)})
    other.happened(round=42, given={one.own: Contribution(refused=2)})
    overview = overview_of([one.path, other.path])
    nodes = nodes_of(overview, "digits")
    assert list(nodes) == [one.own, other.own, one.alice]
    found = [(overview.name_of(arrow.giver.peer), overview.name_of(arrow.taker.peer), arrow.given.merged) for arrow in arrows_of(nodes)]
    assert found == [("other", "one", 9), ("a11c0000", "one", 1)]
    thick, thin = draw_graph(overview, "digits")["layout"]["annotations"]
    assert thick["arrowwidth"] > thin["arrowwidth"]


def test_peers_in_two_lineages_are_told_and_have_two_shapes(lived):
    one, other = lived("one"), lived("other")
    with other.open() as history:
        history.save_lineage_state(other.other_lineage, 41, 300.0)
    one.happened(round=42, splits=(one.other_lineage,))
    overview = overview_of([one.path, other.path])
    assert overview.lineages() == {("digits", one.lineage.hex()): ["one"], ("digits", one.other_lineage.hex()): ["other"]}
    assert all(entry["split"] for entry in as_data(overview)["lineages"])
    *_, drawn = draw_graph(overview, "digits")["data"]
    assert len(set(drawn["marker"]["symbol"])) == 2


def test_what_the_page_is_told_is_json_whatever_the_numbers(lived):
    home = lived()
    home.happened(round=42, metrics={"loss": 1e300}, seconds=float("inf"))
    told = json.loads(as_json(as_data(overview_of([home.path]))))
    assert told["homes"][0]["last_round"]["seconds"] is None


@pytest.fixture
def reads(monkeypatch):
    """The names of the homes that were read."""
    names = []

    def seen(home, name):
        names.append(name)
        return view_of(home, name)

    monkeypatch.setattr(watching, "view_of", seen)
    return names


def test_a_home_in_which_nothing_was_written_is_not_read_again(lived, reads):
    home = lived("one")
    watch = Watch.of([str(home.path)])
    first, second = watch.look(), watch.look()
    assert reads == ["one"] and first.homes == second.homes
    home.happened(home.verdict(round=42), round=42)
    assert watch.look().homes[0].facts["rounds"] == 42
    assert reads == ["one", "one"]


def test_a_home_that_appears_in_the_folder_is_shown_from_then_on(lived, tmp_path):
    lived("homes/one")
    watch = Watch.of([str(tmp_path / "homes")])
    assert [view.name for view in watch.look().homes] == ["one"]
    lived("homes/two")
    assert [view.name for view in watch.look().homes] == ["one", "two"]


def test_a_home_that_is_taken_away_is_told_of(lived, tmp_path):
    home = lived("homes/one")
    watch = Watch.of([str(tmp_path / "homes")])
    (home.path / "history.sqlite").unlink()
    [view] = watch.look().homes
    assert "no history" in view.error


def test_where_no_peer_has_run_the_command_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no peer has run"):
        Watch.of([str(tmp_path)])


def test_nothing_is_written_into_a_home(lived):
    home = lived()
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.path.rglob("*")}
    Watch.of([str(home.path)]).look()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in home.path.rglob("*")} == before
