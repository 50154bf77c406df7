"""What may be done with a tensor of others: stepped over, averaged, counted up, or nothing (docs/decisions/0019)."""

from __future__ import annotations

from learnae.records import TensorSpec


def is_trained(spec: TensorSpec) -> bool:
    """Whether it is a parameter: only these are stepped over."""
    return spec.floating and not spec.buffer


def is_counter(spec: TensorSpec) -> bool:
    """An integer that is merged by maximum: one without dimensions, or the batches that a normalisation has seen."""
    return not spec.floating and (not spec.shape or spec.name.rpartition(".")[2] == "num_batches_tracked")


def is_mixed(spec: TensorSpec) -> bool:
    """Whether it is merged. Of tables of indices, masks and unit vectors a mixture means nothing.

    A peer keeps its own, or takes that of the peer whose model it adopts whole.
    """
    return is_counter(spec) or (spec.floating and not spec.apart)
