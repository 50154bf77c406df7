"""The common task: 28 features, a multi-layer perceptron of 139,265 parameters, SGD 0.05 with momentum 0.9, batches of 256.

The peers have other rows of one distribution; or, with `divided`, other shares of the two labels and features that are shifted.
"""

from __future__ import annotations

import itertools

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from examples.hepmass import hepmass
from tests.support import partitions

WIDTHS = (28, 256, 256, 256, 1)
BATCH = 256
ALPHA, SHIFT, LEAST = 0.3, 0.5, 0.01


@attrs.frozen(eq=False)
class Data:
    """Rows to learn from, and rows to be tested with, which are the same for every peer."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def load(seed: int, rows: int, test_rows: int, *, rank: int = 0, peers: int = 1, divided: bool = False) -> Data:
    """This peer's share of `rows` rows in all: each has other ones, of the same distribution. Deterministic.

    With `divided` the peers differ: each label is divided among them by Dirichlet(0.3), so that each has a hundredth of all rows at
    least, and each one's features have an offset from N(0, 0.5) of their own. Rows to be tested with have the offset of each peer in turn.
    """
    features, labels = hepmass.synthetic(rows + test_rows, seed)
    x, y = np.ascontiguousarray(features), np.ascontiguousarray(labels)
    mine: object = slice(rank, rows, peers)
    if divided:
        parts = partitions.dirichlet(y[:rows].astype(np.int64), peers, ALPHA, seed, least=max(1, int(LEAST * rows)))
        offsets = np.random.default_rng([seed, peers]).normal(0, SHIFT, (peers, x.shape[1])).astype(np.float32)
        for peer, (part, offset) in enumerate(zip(parts, offsets, strict=True)):
            x[part] += offset
            x[rows + peer :: peers] += offset
        mine = parts[rank]
    return Data(*(torch.from_numpy(part) for part in (x[mine], y[mine], x[rows:], y[rows:])))


def make_model(seed: int, widths: tuple[int, ...] = WIDTHS) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


class Training:
    """One peer's own steps."""

    def __init__(self, model: nn.Module, data: Data, seed: int) -> None:
        self.model, self.data, self.optimizer = model, data, make_optimizer(model)
        self._rng = torch.Generator().manual_seed(seed)

    def step(self) -> None:
        rows = torch.randint(len(self.data.x), (BATCH,), generator=self._rng)
        self.optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(self.model(self.data.x[rows]).squeeze(1), self.data.y[rows]).backward()
        self.optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, data: Data) -> float:
    return float(((model(data.test_x).squeeze(1) > 0) == (data.test_y > 0.5)).float().mean())
