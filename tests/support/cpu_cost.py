"""`pytest -p tests.support.cpu_cost`: what tests cost, each folder of them and the dearest ones, in CPU seconds and in time that passed.

CPU seconds contain those of the processes that a test waited for: on a machine that others use too, they say more than time. What a killed
parent left to others is not counted, nor the import of torch that programs of tests share. Where a folder takes far more time than CPU, its
tests wait.
"""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import PurePosixPath

import attrs
import pytest

SHOWN, FOLDERS_SHOWN = 20, 12
NAME = "cost"


@attrs.frozen
class Cost:
    """Seconds."""

    cpu: float
    passed: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.passed + other.passed)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.passed - other.passed)


STARTED = pytest.StashKey[Cost]()


def spent() -> Cost:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Cost(sum(usage.ru_utime + usage.ru_stime for usage in usages), time.monotonic())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    item.stash[STARTED] = spent()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown":
        cost = spent() - item.stash[STARTED]
        report.user_properties.append((NAME, (cost.cpu, cost.passed)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    costs = {
        report.nodeid: Cost(*value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == NAME
    }
    terminalreporter.section("what tests cost: CPU seconds, seconds")
    for line in (*_lines(_by_folder(costs), FOLDERS_SHOWN), "", *_lines(costs, SHOWN)):
        terminalreporter.write_line(line)


def _by_folder(costs: dict[str, Cost]) -> dict[str, Cost]:
    found: dict[str, Cost] = defaultdict(lambda: Cost(0.0, 0.0))
    for nodeid, cost in costs.items():
        found["all"] += cost
        found[str(PurePosixPath(nodeid.split("::")[0]).parent)] += cost
    return found


def _lines(costs: dict[str, Cost], most: int | None = None) -> Iterator[str]:
    for name, cost in sorted(costs.items(), key=lambda item: -item[1].passed)[:most]:
        yield f"{cost.cpu:9.2f} {cost.passed:9.2f} {name}"
