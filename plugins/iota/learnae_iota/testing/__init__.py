"""For tests: a node that lies, and what strangers leave on a tangle."""

from learnae_iota.testing.fake_node import FakeNode
from learnae_iota.testing.litter import litter

__all__ = ["FakeNode", "litter"]
