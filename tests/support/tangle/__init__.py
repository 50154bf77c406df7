"""For tests: a node that lies, and what strangers leave on a tangle."""

from tests.support.tangle.fake_node import FakeNode
from tests.support.tangle.litter import litter

__all__ = ["FakeNode", "litter"]
