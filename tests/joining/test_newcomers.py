"""What is taken of up to three models, one of which may lie."""

from types import SimpleNamespace

import numpy as np
import pytest

from learnae.node.inbox import Entry
from learnae.node.newcomers import adopted_age, medoid, write_model
from learnae.node.obtaining import Obtained
from learnae.records import Announcement, Cid, Decoded, PeerId, TensorSpec, Update

SPECS = {"w": TensorSpec("w", "float32", (2,)), "n": TensorSpec("n", "int64", (2,))}
MOST = np.iinfo(np.int64).max


def obtained(weight: float, integers: list[int], age: int = 7) -> Obtained:
    tensors = {"w": np.full(2, weight, np.float32), "n": np.array(integers)}
    decoder = SimpleNamespace(specs=SPECS, decode=lambda name: Decoded(tensors[name]))
    body = Update(Cid("root"), 1, b"l" * 8, b"s" * 8, age, False, 0, 0, 0.0, "fp32")
    return Obtained(Entry(Announcement(b"", PeerId("p"), 1, body), b"", b"", 0.0, 1, False), decoder)


def adopted(*items: Obtained) -> dict[str, list]:
    current = {"w": np.zeros(2, np.float32), "n": np.zeros(2, np.int64)}
    page = {name: array.copy() for name, array in current.items()}
    assert write_model(medoid(items), items, current, page)
    return {name: array.tolist() for name, array in page.items()}


@pytest.mark.parametrize("lie", [MOST, -MOST])
def test_the_weights_are_of_one_model_and_each_integer_is_the_middle_of_all(lie):
    """The liar's weights lie between those of the two others, so it is the medoid."""
    items = [obtained(1.0, [100, 5]), obtained(2.0, [lie, lie]), obtained(3.0, [110, 5])]
    assert adopted(*items) == {"w": [2.0, 2.0], "n": [110 if lie > 0 else 100, 5]}


def test_of_two_the_lower_integers_are_taken_and_of_one_its_own():
    assert adopted(obtained(1.0, [100, 5]), obtained(2.0, [MOST, 5]))["n"] == [100, 5]
    assert adopted(obtained(1.0, [MOST, 5]))["n"] == [MOST, 5]


def test_the_age_is_that_of_the_adopted_model_but_at_most_the_middle_one():
    young, middle, old = obtained(1.0, [0, 0], 10), obtained(2.0, [0, 0], 20), obtained(3.0, [0, 0], 2**50)
    three = [young, middle, old]
    assert [adopted_age(item, three) for item in three] == [10, 20, 20]
    assert adopted_age(old, [old]) == 2**50
