import attrs
import torch
from attrs.validators import ge, lt

from learnae import ElementwiseMerge


@attrs.frozen
class TrimOptions:
    trim: float = attrs.field(default=0.2, validator=[ge(0.0), lt(0.5)])  # share dropped at each end


class TrimmedMean(ElementwiseMerge):
    """Average each weight after dropping the largest and smallest share of peers; ignores the weights."""

    Options = TrimOptions
    library = "torch"

    def combine(self, stacked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        drop = int(self.options.trim * len(stacked))
        return stacked.sort(dim=0).values[drop : len(stacked) - drop].mean(dim=0)
