"""The node's heap, in a process of its own: what malloc was told cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from learnae.node.runtime import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(40 << 20, np.uint8).fill(0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told anything")
def test_a_large_array_of_the_second_round_is_made_of_pages_of_the_first():
    result = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 10, "of 20 huge or 10,240 small pages"
