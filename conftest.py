"""What holds for every test: no trace outside its own folder, no process left behind, nothing skipped in silence. Async ones are run."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import psutil
import pytest
import trio

from tests.support.limits import within
from tests.support.warm import WarmSession
from tests.support.warm.client import install

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a script: the tests' own children would not hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the same by nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: workers that each take all cores slow each other down
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # as in many container images: each process of a test would compile all of torch again
    sys.dont_write_bytecode = False

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

IN_CI = bool(os.environ.get("CI"))
GRACE_SECONDS = 5.0
SLOW_SECONDS = 600

# No deadline: on a busy machine it measures the neighbours.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if IN_CI else "here")


WARM = pytest.StashKey[WarmSession]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-interpreters", action="store_true", help="start each program of a test as a user's would be: each imports torch"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[WARM] = WarmSession()
    install(config.stash[WARM])


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[WARM].close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Real processes take minutes on a busy machine: their own limits say what hangs. Of several workers none begins with one last."""
    longest: dict[Path, float] = defaultdict(float)
    for item in items:
        if item.get_closest_marker("slow"):
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
            marker = item.get_closest_marker("timeout")
            longest[item.path] = max(longest[item.path], float(marker.args[0]) if marker and marker.args else SLOW_SECONDS)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -longest[item.path])
        if longest:
            config.stash[WARM].start()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An async test is a trio program. It runs in real time, or in that of a clock which jumps, where `virtual_time` marks it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    test = partial(pyfuncitem.obj, **arguments)
    if pyfuncitem.get_closest_marker("virtual_time"):
        from learnae.testing.swarm import run_in_virtual_time  # and with it numpy, for which OMP_NUM_THREADS is set now

        run_in_virtual_time(test)
    else:
        marker = pyfuncitem.get_closest_marker("timeout")
        trio.run(within(0.9 * float(marker.args[0] if marker else pyfuncitem.config.getini("timeout")), test))
    return True


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of this test alone, with a path short enough for a Unix socket in it."""
    folder = tmp_path_factory.mktemp("s")
    for name in [name for name in os.environ if name.startswith("LEARNAE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def warm(pytestconfig: pytest.Config) -> WarmSession:
    return pytestconfig.stash[WARM]


@pytest.fixture(autouse=True)
def interpreters(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs that import torch are copies of one process that has it, except where a test looks at how they start."""
    real = request.config.getoption("--real-interpreters") or request.node.get_closest_marker("real_interpreters")
    with request.config.stash[WARM].paused() if real else nullcontext():
        yield


@pytest.fixture(autouse=True)
def no_import_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A command that a test calls in its own process imports as a process of its own would. The next test starts without these modules."""
    folder, path, modules = str(tmp_path_factory.getbasetemp()), list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def no_process_left(state_home: Path) -> Iterator[None]:
    """Fail a test that leaves a process running, also one that its parent has abandoned."""
    before = set(psutil.pids())
    yield
    suspects = [process for pid in set(psutil.pids()) - before if (process := _started_with(pid, str(state_home)))]
    _, left = psutil.wait_procs(suspects, timeout=GRACE_SECONDS)
    lines = [_describe(process) for process in left]
    for process in left:
        process.kill()
    if lines:
        pytest.fail("left running: " + "; ".join(lines), pytrace=False)


def _started_with(pid: int, state_home: str) -> psutil.Process | None:
    """The process, if it inherited the state folder of this test and is more than a zombie."""
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and _environment(process).get("XDG_STATE_HOME") == state_home
        helper = "multiprocessing" in " ".join(process.cmdline())  # Python keeps its resource tracker until it ends
    except psutil.Error:
        return None
    return process if alive and not helper else None


def _environment(process: psutil.Process) -> dict[str, str]:
    """What it was started with; for an instant, while a program replaces the one that forked it, the kernel shows nothing."""
    for _ in range(100):
        environment = process.environ()
        if environment:
            return environment
        time.sleep(0.001)
    return {}


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{process.pid} (just ended)"


# A skip whose reason begins with "needs" is about this machine: no Go, no daemon, no second core. The last lines of a run name
# them all, and in CI, where the set-up must have brought everything, they are failures.
NEEDS = "needs "


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _strict((yield))


def _strict(report: Report) -> Report:
    if IN_CI and (reason := _need(report)):
        report.outcome = "failed"
        report.longrepr = f"skipped, though everything must run in CI: {reason}"
    return report


def _need(report: Any) -> str | None:
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return None
    reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    return reason if reason.startswith(NEEDS) else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    yield  # pytest's own summary comes first
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    needs = Counter(reason for report in reporter.stats.get("skipped", ()) if (reason := _need(report)))
    if needs:
        reporter.write_line(f"This machine could not run {needs.total()} of the tests:", yellow=True)
    for reason, count in sorted(needs.items()):
        reporter.write_line(f"  {count:4} {reason}", yellow=True)
