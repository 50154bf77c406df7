import pytest

from learnae.testing.merge_kit import MergeConformance
from learnae_winsorized_mean.merge import WinsorizedMean, WinsorOptions


class TestWinsorizedMean(MergeConformance):
    @pytest.fixture
    def merge(self, learnae_context):
        return WinsorizedMean(WinsorOptions(trim=0.2), learnae_context)
