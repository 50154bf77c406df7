"""`pytest -p tests.support.cpu_cost`: what the dearest twenty tests cost in CPU seconds, with the processes that they waited for.

On a machine that others use too, this says more than the time that passed. What a killed parent left to others is not counted.
"""

from __future__ import annotations

import resource
from collections.abc import Generator

import pytest

SHOWN = 20
NAME = "cpu_seconds"
STARTED = pytest.StashKey[float]()


def spent() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    item.stash[STARTED] = spent()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown":
        report.user_properties.append((NAME, spent() - item.stash[STARTED]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    costs = {
        report.nodeid: value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == NAME
    }
    terminalreporter.section(f"{sum(costs.values()):.0f} CPU s, the dearest {SHOWN}")
    for nodeid, cost in sorted(costs.items(), key=lambda item: -item[1])[:SHOWN]:
        terminalreporter.write_line(f"{cost:8.2f} {nodeid}")
