"""Hypothesis in kits."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

inherited = settings(
    deadline=None,  # on a busy machine it measures the neighbours
    report_multiple_bugs=False,  # one counterexample is enough, and then the failure is a plain AssertionError
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
"""For a property that subclasses inherit and that takes its strategy from a fixture: it serves many examples, since it keeps nothing."""
