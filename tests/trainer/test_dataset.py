"""Own rows and those of others as one Dataset: forms, growth, forgetting, and what leaves the machine by consent alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnae.config.tables import DataTable
from learnae.data.fitting import Expected, fit
from learnae.data.own import OwnSlices
from learnae.data.pool import Pool
from learnae.data.schema import schema_of
from learnae.data.slices import make_slices, pack_slice
from learnae.data.trained_on import told
from learnae.errors import ConfigError
from learnae.records import PeerId
from learnae.trainer.dataset import SwarmDataset, make_dataset

ANNA, BERT, SELF = PeerId("1" * 64), PeerId("2" * 64), "3" * 64
ACCEPTING = DataTable(accept_bytes=1 << 30)
GIVING = DataTable(share="slices", share_fraction=0.1, licence="CC0-1.0", source="a test")


def rows(first: int, count: int) -> dict[str, np.ndarray[Any, Any]]:
    """Each row says its own number."""
    numbers = np.arange(first, first + count)
    return {"features": np.repeat(numbers[:, None], 3, axis=1).astype(np.float32), "label": numbers % 4}


def own(count: int = 40) -> TensorDataset:
    return TensorDataset(*(torch.from_numpy(array) for array in rows(0, count).values()))


def give(home: Path, first: int, count: int, peer: PeerId = ANNA) -> None:
    arrays = rows(first, count)
    for one in make_slices(arrays, schema_of(arrays, "label"), most_rows=10):
        Pool(home, 1 << 30).add(pack_slice(one).packed.root, one, peer)


def numbers_in(batch: Any) -> list[int]:
    return [int(number) for number in batch[0][:, 0]]


def made(home: Path, local: Any = None, data: DataTable = ACCEPTING, **more: Any) -> SwarmDataset:
    return make_dataset(own() if local is None else local, home, data, peer=SELF, **more)


@pytest.mark.parametrize("workers", [0, 2])
def test_half_of_each_batch_is_of_others_and_no_own_row_comes_twice_in_an_epoch(tmp_path: Path, workers: int) -> None:
    give(tmp_path, 1000, 40)
    batches = [numbers_in(batch) for batch in made(tmp_path).loader(8, num_workers=workers)]
    assert [sum(number >= 1000 for number in batch) for batch in batches] == [4] * 10
    assert sorted(number for batch in batches for number in batch) == [*range(40), *range(1000, 1040)]


def test_a_share_that_is_no_whole_number_holds_over_several_batches(tmp_path: Path) -> None:
    give(tmp_path, 1000, 40)
    batches = [numbers_in(batch) for batch in made(tmp_path, foreign=0.1).loader(4)]
    assert sum(number >= 1000 for batch in batches[:10] for number in batch) == 4


def test_a_row_of_others_comes_again_only_after_all_have_come(tmp_path: Path) -> None:
    give(tmp_path, 1000, 10)
    seen = [number for batch in made(tmp_path).loader(8) for number in numbers_in(batch) if number >= 1000]
    assert set(Counter(seen[:40]).values()) == {4} and set(seen[:10]) == set(range(1000, 1010))


def test_without_rows_of_others_all_are_own(tmp_path: Path) -> None:
    assert sorted(number for batch in made(tmp_path).loader(8) for number in numbers_in(batch)) == list(range(40))


def test_no_row_stands_twice_in_a_batch_also_where_there_are_few_of_others(tmp_path: Path) -> None:
    give(tmp_path, 1000, 3)
    for batch in made(tmp_path).loader(8):
        found = numbers_in(batch)
        assert len(set(found)) == len(found) == 8 or len(found) < 8


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (1, "spawn")])
def test_the_same_loader_sees_rows_that_come_while_it_runs(tmp_path: Path, workers: int, start: str | None) -> None:
    more = {"num_workers": workers, "multiprocessing_context": start, "persistent_workers": True} if workers else {}
    loader = made(tmp_path, own(80)).loader(4, **more)
    first = [number for batch in loader for number in numbers_in(batch)]
    give(tmp_path, 1000, 20)
    second = [number for batch in loader for number in numbers_in(batch)]
    assert sorted(first) == list(range(80)) and set(range(1000, 1020)) <= set(second)


def test_new_rows_come_in_the_epoch_that_runs(tmp_path: Path) -> None:
    loader, seen = made(tmp_path).loader(4), []
    for place, batch in enumerate(loader):
        if place == 2:
            give(tmp_path, 1000, 20)
        seen.append(numbers_in(batch))
    assert all(number < 1000 for batch in seen[:3] for number in batch)
    assert [sum(number >= 1000 for number in batch) for batch in seen[3:6]] == [2, 2, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_of_a_peer_that_is_forgotten_are_seen_no_more_and_the_training_goes_on(tmp_path: Path, workers: int) -> None:
    give(tmp_path, 1000, 40, ANNA)
    give(tmp_path, 2000, 40, BERT)
    loader = made(tmp_path, own(400)).loader(8, num_workers=workers)
    seen = []
    for place, batch in enumerate(loader):
        if place == 5:
            Pool(tmp_path, 1 << 30).forget(ANNA)
        seen.append(numbers_in(batch))
    after = [number for batch in seen[6 + 2 * workers :] for number in batch]
    assert not any(1000 <= number < 2000 for number in after) and any(number >= 2000 for number in after)
    assert all(len(batch) == 8 for batch in seen[:-1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_with_the_rows_that_its_loop_has_not_had(tmp_path: Path, workers: int) -> None:
    give(tmp_path, 1000, 30)
    whole = [numbers_in(batch) for loader in [made(tmp_path).loader(8)] for _ in range(3) for batch in loader]
    first, before = made(tmp_path).loader(8, num_workers=workers), []
    for place, batch in enumerate(first):
        before.append(numbers_in(batch))
        if place == 3:
            state = first.state_dict()
            break
    path = tmp_path / "state.pt"
    torch.save(state, path)
    second = made(tmp_path).loader(8, num_workers=workers)
    second.load_state_dict(torch.load(path, weights_only=True))
    after = [numbers_in(batch) for _ in range(3) for batch in second]
    assert before + after == whole


def test_a_state_of_other_rows_is_refused_with_what_to_do(tmp_path: Path) -> None:
    state = made(tmp_path, own(30)).loader(8).state_dict()
    for wrong in (state, {}, {**state, "rows": 40, "deck": torch.tensor([1 << 40])}, {**state, "rows": 40, "own": -1}):
        with pytest.raises(ConfigError, match="leave it out"):
            made(tmp_path).loader(8).load_state_dict(wrong)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_loader_gives_each_row_once_and_sees_new_ones_in_its_next_epoch(tmp_path: Path, workers: int) -> None:
    give(tmp_path, 1000, 20)
    loader = DataLoader(made(tmp_path), batch_size=7, shuffle=True, num_workers=workers)
    assert sorted(number for batch in loader for number in numbers_in(batch)) == [*range(40), *range(1000, 1020)]
    give(tmp_path, 2000, 20, BERT)
    seen = sorted(number for batch in loader for number in numbers_in(batch))
    assert seen == [*range(40), *range(1000, 1020), *range(2000, 2020)]


class Pictures(Dataset[Any]):
    """Read row by row, as data sets of torchvision are."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number >= 12:
            raise IndexError(number)
        return {"picture": torch.full((2, 2), number, dtype=torch.uint8), "label": number % 3}


ARRAYS = rows(0, 12)
FORMS: dict[str, Any] = {
    "tensors": own(12),
    "arrays": tuple(ARRAYS.values()),
    "table": ARRAYS,
    "items": Pictures(),
    "one": ARRAYS["features"],
    "text": {"features": ARRAYS["features"], "label": np.array(["cat", "dog", "owl"] * 4)},
}


@pytest.mark.parametrize("form", FORMS)
def test_samples_of_others_have_the_form_and_the_transform_of_the_own_ones(tmp_path: Path, form: str) -> None:
    local = FORMS[form]
    (tmp_path / "giver").mkdir(0o700)
    giver = make_dataset(local, tmp_path / "giver", GIVING, peer=SELF)
    slices = OwnSlices(tmp_path / "giver")
    for root in slices.roots():
        Pool(tmp_path, 1 << 30).add(root, fit(slices.load(root)[0], Expected(schema=giver.schema)), ANNA)
    dataset = made(tmp_path, local, transform=lambda sample: (sample, "seen"))
    assert len(dataset) == 13 and giver.schema.digest == dataset.schema.digest
    (mine, seen), (theirs, also) = dataset[0], dataset[12]
    assert seen == also == "seen" and type(mine) is type(theirs)
    every = [dataset[number][0] for number in range(12)]
    flat = [[part.tolist() for part in (one.values() if isinstance(one, dict) else one)] for one in every]
    assert [part.tolist() for part in (theirs.values() if isinstance(theirs, dict) else theirs)] in flat
    with pytest.raises(IndexError):
        dataset[13]


def test_rows_that_are_not_alike_are_told_with_their_column_and_row(tmp_path: Path) -> None:
    uneven = [(np.zeros(3, np.float32), 0), (np.zeros(4, np.float32), 1)]
    with pytest.raises(ConfigError, match=r"'features'.*row 1.*make all rows alike"):
        made(tmp_path, uneven, GIVING)
    with pytest.raises(ConfigError, match="no rows to name"):
        made(tmp_path, iter([1, 2]))


ROW_TENSORS = [torch.arange(6.0) + 10 * person for person in range(20)]


@pytest.mark.parametrize(
    "local",
    [
        ROW_TENSORS,
        [one.numpy() for one in ROW_TENSORS],
        tuple(ROW_TENSORS),
        tuple(ROW_TENSORS[:2]),
        [torch.zeros(20, 2), torch.zeros(20, 2)],
    ],
    ids=["list of tensors", "list of arrays", "tuple", "tuple of two rows", "list of two columns"],
)
def test_rows_are_never_taken_for_columns_which_would_give_a_part_of_all(tmp_path: Path, local: Any) -> None:
    with pytest.raises(ConfigError, match="may be rows"):
        made(tmp_path, local, GIVING)
    assert OwnSlices(tmp_path).roots() == ()


def test_a_list_of_samples_gives_whole_ones(tmp_path: Path) -> None:
    made(tmp_path, [(features, number % 2) for number, features in enumerate(ROW_TENSORS)], GIVING)
    (one,) = [OwnSlices(tmp_path).load(root)[0] for root in OwnSlices(tmp_path).roots()]
    assert one.count == 2 and all(row in [one.tolist() for one in ROW_TENSORS] for row in one.columns["features"].tolist())


def test_without_consent_nothing_is_put_where_the_node_takes_rows_from(tmp_path: Path) -> None:
    for data in (DataTable(), ACCEPTING, DataTable(share_rows=10, share_fraction=0.5, licence="CC0-1.0")):
        made(tmp_path, own(), data)
        assert not (tmp_path / "data" / "own").exists() and OwnSlices(tmp_path).roots() == ()


def test_without_a_word_about_data_the_home_stays_empty(tmp_path: Path) -> None:
    made(tmp_path, own(), DataTable())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"share_rows": 10}, 10),
        ({"share_fraction": 0.1}, 20),
        ({"share_rows": 10, "share_fraction": 0.1}, 10),
        ({"share_fraction": 0.001}, 0),
    ],
)
def test_by_consent_so_many_rows_are_given_at_most_and_the_same_ones_in_each_run(tmp_path: Path, limits: dict[str, Any], most: int) -> None:
    data = DataTable(share="slices", licence="CC0-1.0", source="a test", **limits)
    roots = []
    for _ in range(2):
        made(tmp_path, own(200), data)
        roots.append(OwnSlices(tmp_path).roots())
    assert roots[0] == roots[1]
    given = [OwnSlices(tmp_path).load(root)[0] for root in roots[0]]
    assert sum(one.count for one in given) == most
    assert all((one.about.licence, one.about.source) == ("CC0-1.0", "a test") for one in given)


@pytest.mark.parametrize("form", ["pair", "samples"])
def test_own_rows_that_grow_give_no_others(tmp_path: Path, form: str) -> None:
    ten = DataTable(share="slices", share_rows=10, licence="CC0-1.0")
    features, labels = torch.arange(400.0).reshape(200, 2), torch.arange(200) % 4
    roots = []
    for count in (100, 150, 200):
        pair = features[:count], labels[:count]
        made(tmp_path, pair if form == "pair" else list(zip(*pair, strict=True)), ten)
        roots.append(OwnSlices(tmp_path).roots())
    assert roots[0] and roots[0] == roots[1] == roots[2]


def test_each_label_gives_its_part_of_the_rows(tmp_path: Path) -> None:
    labels = torch.tensor([0] * 150 + [1] * 40 + [2] * 10)
    made(tmp_path, TensorDataset(torch.arange(200.0)[:, None], labels), GIVING)
    (one,) = [OwnSlices(tmp_path).load(root)[0] for root in OwnSlices(tmp_path).roots()]
    assert one.about.labels == {"0": 15, "1": 4, "2": 1}


def test_a_consent_that_is_taken_back_takes_the_rows_back_from_where_the_node_looks(tmp_path: Path) -> None:
    made(tmp_path, own(200), GIVING)
    assert OwnSlices(tmp_path).roots()
    made(tmp_path, own(200), DataTable())
    assert OwnSlices(tmp_path).roots() == ()


def test_the_node_is_told_what_is_trained_on_only_where_rows_of_others_are_wanted(tmp_path: Path) -> None:
    dataset = made(tmp_path, own(40), GIVING)
    assert told(tmp_path) is None
    made(tmp_path, own(40), ACCEPTING, labels=range(4))
    found = told(tmp_path)
    assert found is not None and found.schema == dataset.schema and found.rows == 40 and found.sketch
    assert (found.labels, found.known_labels) == ({str(label): 10 for label in range(4)}, ("0", "1", "2", "3"))


def test_who_takes_no_rows_sees_none_though_some_lie_there(tmp_path: Path) -> None:
    give(tmp_path, 1000, 20)
    assert len(made(tmp_path, own(), DataTable())) == 40


def test_a_pool_that_cannot_be_read_counts_as_empty_and_says_why(tmp_path: Path) -> None:
    give(tmp_path, 1000, 20)
    dataset = made(tmp_path)
    loader = dataset.loader(8)
    assert any(number >= 1000 for number in numbers_in(next(iter(loader))))
    (tmp_path / "data" / "pool.json").write_text("{")
    assert all(number < 1000 for batch in loader for number in numbers_in(batch)) and "is damaged" in dataset.problem


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_of_others_that_leaves_no_own_row_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="less than 1"):
        made(tmp_path, foreign=share)
