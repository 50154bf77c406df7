import pytest

from learnae.testing.merge_kit import MergeConformance
from learnae_trimmed_mean.merge import TrimmedMean, TrimOptions


class TestTrimmedMean(MergeConformance):
    @pytest.fixture
    def merge(self, learnae_context):
        return TrimmedMean(TrimOptions(trim=0.2), learnae_context)
