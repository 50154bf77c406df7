import attrs
import torch
from attrs.validators import ge, lt

from learnae import ElementwiseMerge


@attrs.frozen
class WinsorOptions:
    trim: float = attrs.field(default=0.2, validator=[ge(0.0), lt(0.5)])  # share held at each end


class WinsorizedMean(ElementwiseMerge):
    """Average each coordinate after holding the largest and smallest ones to the next; ignores the weights."""

    Options = WinsorOptions
    library = "torch"

    def combine(self, stacked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        held, ordered = int(self.options.trim * len(stacked)), stacked.sort(dim=0).values
        return stacked.clamp(ordered[held], ordered[len(stacked) - held - 1]).mean(dim=0)
