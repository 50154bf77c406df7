"""Two peers with real nodes, whose models hold a mask of -inf, or are changed after they were joined."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch
from torch import nn

import learnae
from learnae.errors import ConfigError
from tests.support.random_walk import RandomWalker, train_until

OVERRIDES = ["train.local_steps=5", "join.wait_seconds=0.5"]


@pytest.fixture
def peers() -> Iterator[list[RandomWalker]]:
    """With a causal mask and a frozen part each."""

    def join(model: nn.Module) -> learnae.Swarm:
        model.register_buffer("mask", torch.triu(torch.full((4, 4), -math.inf), 1))
        model.register_parameter("frozen", nn.Parameter(torch.zeros(2), requires_grad=False))
        return swarms.enter_context(learnae.join(model, "changed", overrides=OVERRIDES))

    with ExitStack() as swarms:
        yield [RandomWalker(1, join), RandomWalker(2, join)]


def distance(one: RandomWalker, other: RandomWalker) -> float:
    return float((one.model.weight - other.model.weight).detach().norm())


def merge(peers: list[RandomWalker], times: int) -> None:
    before = [peer.swarm.status.merged for peer in peers]
    train_until(lambda: all(peer.swarm.status.merged >= so_far + times for peer, so_far in zip(peers, before, strict=True)), *peers)


def test_a_mask_of_infinities_stays_as_it_is_and_the_rest_is_merged(peers: list[RandomWalker]) -> None:
    apart = distance(*peers)
    merge(peers, 5)
    assert distance(*peers) < apart / 10
    assert all(torch.equal(peer.model.mask, torch.triu(torch.full((4, 4), -math.inf), 1)) for peer in peers)
    assert all(not peer.swarm.status.outages for peer in peers)


def test_tensors_that_were_replaced_by_their_like_are_merged_from_then_on(peers: list[RandomWalker]) -> None:
    merge(peers, 2)
    for seed, peer in enumerate(peers):
        peer.model.weight = nn.Parameter(torch.full((5, 20), float(seed)))
    apart = distance(*peers)
    train_until(lambda: distance(*peers) < apart / 4, *peers)  # the gate lets a jump like this through little by little


def test_a_layer_that_is_thawed_is_refused_and_joins_again(peers: list[RandomWalker]) -> None:
    one, _ = peers
    merge(peers, 2)
    one.model.frozen.requires_grad_(True)
    with pytest.raises(ConfigError, match=r"frozen was frozen at join"):
        train_until(lambda: False, one)
    one.swarm.leave()
    with learnae.join(one.model, "changed", overrides=OVERRIDES) as one.swarm:
        train_until(lambda: one.swarm.status.rounds > 0, one)
    one.model.frozen.requires_grad_(False)


def test_values_that_become_infinite_are_named_until_they_are_gone(peers: list[RandomWalker]) -> None:
    one, _ = peers
    merge(peers, 1)
    with torch.no_grad():
        one.model.bias[0] = math.inf
    train_until(lambda: "bias (1 of 5 values)" in one.swarm.status.outages.get("model", ""), *peers)
    with torch.no_grad():
        one.model.bias[0] = 0.0
    train_until(lambda: not one.swarm.status.outages, *peers)
