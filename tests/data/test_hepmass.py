"""HEPMASS: the synthetic rows, files of the published format, and what a peer makes of them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.hepmass import hepmass as command
from examples.hepmass.hepmass import HEADER, Collisions, Scaling, Share, chunks_of, synthetic, write_like_published
from learnae.errors import ConfigError
from tests.support.hostile.texts import is_harmless

ROWS = 300


def row(label: str = "1.000000000000000000e+00", *, last: str = "7.5e+02", values: int = 28) -> str:
    return ",".join([label, *["-2.500000000000000000e-01"] * (values - 1), last])


def written(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def read(path: Path, share: Share | None = None, **how: int) -> tuple[np.ndarray, np.ndarray]:
    chunks = list(chunks_of(path, share, **how))
    return np.concatenate([features for features, _ in chunks]), np.concatenate([labels for _, labels in chunks])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hepmass") / "like.csv"
    write_like_published(path, ROWS, seed=3)
    return path


def test_the_same_seed_gives_the_same_rows_of_which_fewer_are_a_beginning_of_more() -> None:
    many, few = synthetic(5000, seed=1), synthetic(100, seed=1)
    assert (many[0][:100] == few[0]).all() and (many[1][:100] == few[1]).all()
    assert not (synthetic(100, seed=2)[0] == few[0])[:, :27].any()
    assert synthetic(0, seed=1)[0].shape == (0, 28)


def test_synthetic_features_are_standardised_and_both_classes_are_there() -> None:
    features, labels = synthetic(50_000, seed=1)
    assert features.shape == (50_000, 28) and features.dtype == labels.dtype == np.float32
    assert np.abs(features.mean(axis=0)).max() < 0.03
    assert np.abs(features.std(axis=0) - 1).max() < 0.03
    assert set(labels) == {0, 1} and 0.45 < labels.mean() < 0.55


def test_a_linear_model_is_clearly_worse_than_one_that_sees_products() -> None:
    features, labels = synthetic(20_000, seed=1)
    exam, answers = synthetic(5_000, seed=2)

    def accuracy(expand):
        weights = np.linalg.lstsq(expand(features), labels - 0.5, rcond=None)[0]
        return ((expand(exam) @ weights > 0) == (answers > 0.5)).mean()

    upper = np.triu_indices(28)
    linear = accuracy(lambda x: np.column_stack([x, np.ones(len(x))]))
    products = accuracy(lambda x: np.column_stack([x, np.ones(len(x)), x[:, upper[0]] * x[:, upper[1]]]))
    assert 0.65 < linear < 0.75 < products


def test_a_written_file_has_the_published_form_says_that_it_is_synthetic_and_reads_back(published: Path) -> None:
    header, first, *_ = published.read_text().splitlines()
    assert header.startswith("# label,f0,f1,") and "SYNTHETIC" in header
    assert len(first.split(",")) == 29 and first.startswith(("0.000000000000000000e+00,", "1.000000000000000000e+00,"))
    features, labels = read(published)
    expected, answers = synthetic(ROWS, seed=3)
    assert (features[:, :27] == expected[:, :27]).all() and (labels == answers).all()
    assert set(np.round(features[:, 27])) == {500, 750, 1000, 1250, 1500}


def test_a_compressed_file_is_known_by_its_bytes_whatever_its_name(published: Path, tmp_path: Path) -> None:
    disguised = tmp_path / "compressed.csv"
    disguised.write_bytes(gzip.compress(published.read_bytes()))
    write_like_published(tmp_path / "by-name.csv.gz", ROWS, seed=3)
    for path in (disguised, tmp_path / "by-name.csv.gz"):
        assert path.read_bytes()[:2] == b"\x1f\x8b"
        assert (read(path)[0] == read(published)[0]).all()


def test_chunks_are_no_larger_than_asked_for_and_miss_nothing(published: Path) -> None:
    sizes = [len(labels) for _, labels in chunks_of(published, chunk_rows=128)]
    assert sizes == [128, 128, 44]
    assert (read(published, chunk_rows=7)[0] == read(published)[0]).all()


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(0, 40))
def test_shares_are_disjoint_and_together_are_all_rows(published: Path, of: int, after: int) -> None:
    everything = read(published)[0]
    parts = [read(published, Share(index, of), after=after)[0] for index in range(of)]
    rows = [[number for number in range(after, ROWS) if number % of == index] for index in range(of)]
    for part, numbers in zip(parts, rows, strict=True):
        assert (part == everything[numbers]).all()


@pytest.mark.parametrize(("text", "share"), [("1/4", Share(0, 4)), (" 4 / 4 ", Share(3, 4)), ("1/1", Share())])
def test_a_share_in_words(text: str, share: Share) -> None:
    assert Share.parse(text) == share


@pytest.mark.parametrize("text", ["0/4", "5/4", "half", "", "1/0", "-1/4"])
def test_words_that_are_no_share_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"HEPMASS_SHARE: .*second of four"):
        Share.parse(text, "HEPMASS_SHARE")


@pytest.mark.parametrize(
    ("lines", "number", "says"),
    [
        ([row(), row(values=27)], 3, "28 values, not 29"),
        ([row(), row(), row(values=30)], 4, "not 29"),
        ([row("zero")], 2, "no number"),
        ([row(), "", row(last="nan")], 4, "not finite"),
        ([row(last="1e99")], 2, "not finite"),
        ([row(), row("2.0e+00")], 3, "label 2, which is neither 0 nor 1"),
        ([row(), "\x00\xff garbage"], 3, "no number"),
        ([row(), "1," * 9000], 3, "far too long"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, lines: list[str], number: int, says: str) -> None:
    path = written(tmp_path / "broken.csv", *lines)
    with pytest.raises(ConfigError, match=rf"broken\.csv, line {number}: .*({says})"):
        read(path)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("label,f0,f1", "begins with"),
        (row(), "begins with"),
        (HEADER.removesuffix(",mass"), "28 columns.*all_train"),
    ],
)
def test_a_file_with_another_header_is_refused(tmp_path: Path, header: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"line 1: .*{says}"):
        read(written(tmp_path / "other.csv", row(), header=header))


def test_a_file_that_is_not_there_or_cut_off_is_a_clear_error(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.csv: cannot be read"):
        read(tmp_path / "nowhere.csv")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(published.read_bytes())[:-2000])
    with pytest.raises(ConfigError, match="cut off or damaged"):
        read(cut)


def test_scaling_by_hand_and_a_constant_feature_becomes_zero() -> None:
    scaling = Scaling.of(np.array([[1, 1000], [3, 1000]], np.float32))  # means 2 and 1000, deviations 1 and none
    assert scaling(np.array([[5, 1000]], np.float32)).tolist() == [[3, 0]]


def test_peers_share_the_examination_and_divide_the_rest(published: Path) -> None:
    peers = [Collisions.open(published, Share(index, 3), exam_rows=60, batch_rows=16, seed=index) for index in range(3)]
    batches = [list(peer) for peer in peers]
    assert all((peer.exam[0] == peers[0].exam[0]).all() for peer in peers)
    assert np.abs(peers[0].exam[0].mean(axis=0)).max() < 1e-5
    assert [len(labels) for _, labels in batches[0]] == [16] * 5
    rows = {tuple(features) for peer in batches for part, _ in peer for features in part}
    assert len(rows) == ROWS - 60 and not rows & {tuple(features) for features in peers[0].exam[0]}


@pytest.mark.parametrize("kept_rows", [0, 100, 10_000], ids=["nothing", "too little", "all"])
def test_every_pass_has_the_same_rows_in_another_order_whatever_is_kept(published: Path, kept_rows: int) -> None:
    data = Collisions.open(published, Share(1, 2), exam_rows=60, batch_rows=50, chunk_rows=64, seed=0, kept_rows=kept_rows)
    passes = [np.concatenate([features for features, _ in data]) for _ in range(3)]
    assert len({tuple(map(tuple, np.sort(one, axis=0))) for one in passes}) == 1
    assert not (passes[0] == passes[1]).all()


def test_what_is_kept_in_memory_is_not_read_again(published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_bytes(published.read_bytes())
    data = Collisions.open(copy, exam_rows=60)
    first = sum(len(labels) for _, labels in data)
    copy.unlink()
    assert sum(len(labels) for _, labels in data) == first == ROWS - 60


def test_a_pass_that_was_given_up_is_no_whole_one(published: Path) -> None:
    data = Collisions.open(published, exam_rows=60, chunk_rows=64)
    next(iter(data))
    assert sum(len(labels) for _, labels in data) == ROWS - 60


def test_a_file_with_too_few_rows_for_the_examination_is_refused(published: Path) -> None:
    with pytest.raises(ConfigError, match=f"has {ROWS} rows, and the first 10000"):
        Collisions.open(published)


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "made.csv.gz"
    subprocess.run([sys.executable, str(Path(command.__file__)), str(path), "--rows", "20"], check=True, timeout=60)
    assert len(read(path)[1]) == 20


def test_a_file_that_cannot_be_written_is_told_harmlessly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hepmass.py", str(tmp_path / "\x1b[2J\u202e" / "x\nFAKED"), "--rows", "20"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert is_harmless(said) and said.count("\n") == 1
