"""Setting D20 of the literature notes, through the real node: 20 peers, 100 rounds, two fetched peers, averaging."""

import pytest

from tests.support.digits_swarm import run_d20


@pytest.mark.slow
@pytest.mark.parametrize(("split", "rate", "least"), [("iid", 0.3, 0.945), ("dirichlet-0.1", 0.3, 0.90), ("shards", 0.3, 0.88)])
def test_twenty_peers_learn_together_what_none_could_alone(split, rate, least):
    accuracies = run_d20(split, rate)
    assert sum(accuracies) / len(accuracies) >= least
