"""A program that imports torch is a copy of a process that has it, and cannot be told from one that was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.warm import WarmSession
from tests.support.warm.client import python_words

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: only there is a process copied"),
]
READY_SECONDS = 500.0
HAS_TORCH = "import torch, os, sys\n"


@pytest.fixture(scope="module", autouse=True)
def ready(warm: WarmSession) -> None:
    warm.start()
    assert warm.wait(READY_SECONDS)


def run(code: str, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HAS_TORCH + code, *arguments], capture_output=True, text=True, check=False, **how)


def test_it_is_a_copy_and_has_its_own_words_folder_environment_and_parent(tmp_path: Path) -> None:
    code = "print('torch._dynamo' in sys.modules, sys.argv, os.getcwd(), os.environ['OWN'], os.getppid()); print(sys.stdin.read())"
    done = run(code, "a", cwd=tmp_path, env={**os.environ, "OWN": "mine"}, input="given")
    assert done.stdout.splitlines() == [f"True ['-c', 'a'] {tmp_path} mine {os.getpid()}", "given"]
    assert (done.returncode, done.stderr) == (0, "")


def test_its_exit_code_and_its_traceback_are_its_own() -> None:
    assert run("sys.exit(3)").returncode == 3
    assert run("sys.exit('in words')").stderr == "in words\n"
    assert run("import atexit; atexit.register(print, 'at the end')").stdout == "at the end\n"
    failed = run("1 / 0")
    assert failed.returncode == 1 and "ZeroDivisionError" in failed.stderr


def test_it_does_not_have_our_code_and_draws_other_numbers_than_the_next() -> None:
    code = "print([name for name in sys.modules if name.split('.')[0] in ('learnae', 'tests')])\nimport random, numpy\n"
    code += "print(random.random(), numpy.random.rand())"
    first, second = run(code).stdout.splitlines(), run(code).stdout.splitlines()
    assert first[0] == second[0] == "[]"
    assert not set(first[1].split()) & set(second[1].split())


def test_descriptors_that_are_passed_have_their_numbers_and_no_others_are_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, (tmp_path / "other").open("w") as other:
        done = run(f"os.write({file.fileno()}, b'here'); print(sorted(os.listdir('/proc/self/fd')))", pass_fds=[file.fileno()])
        assert str(other.fileno()) not in done.stdout or other.fileno() < 3
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_it_is_seen_under_its_own_name(number: signal.Signals) -> None:
    command = [sys.executable, "-c", HAS_TORCH + "print('here', flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        seen = psutil.Process(process.pid)
        assert seen.cmdline()[:3] == command and seen.environ()["XDG_STATE_HOME"] == os.environ["XDG_STATE_HOME"]
        assert process.pid in [child.pid for child in psutil.Process().children()]
        process.send_signal(number)
        assert process.wait(60) == -number


ONLY_NAMES_IT = "import sys\nprint('torch' in sys.modules)\n" + 'text = """\nimport torch\n"""'  # another Python does not import it


def has_torch(**how: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", ONLY_NAMES_IT], capture_output=True, text=True, check=True, **how
    )
    return done.stdout.strip()


@pytest.mark.real_interpreters
def test_where_a_test_says_so_a_program_starts_as_it_does_for_users() -> None:
    assert has_torch() == "False"


def test_other_variables_for_python_start_another_one() -> None:
    assert has_torch() == "True"
    assert has_torch(env={**os.environ, "PYTHONWARNINGS": "ignore"}) == "False"


def test_only_this_python_is_copied(tmp_path: Path) -> None:
    assert python_words([sys.executable, "-c", "x"], {}) == ["-c", "x"]
    assert python_words([str(tmp_path / "python"), "-c", "x"], {}) is None
    assert python_words(["sh", "-c", "x"], os.environ) is None
