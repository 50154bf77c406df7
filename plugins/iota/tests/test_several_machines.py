"""What a container of compose.yaml starts, without the container."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from learnae_iota.devnet import Ports, free_ports
from learnae_iota.devnet.api import call, connected_peers, synchronised
from learnae_iota.devnet.keys import new_seed
from learnae_iota.devnet.ports import LOOPBACK

pytestmark = pytest.mark.slow

START = str(Path(__file__).parents[1] / "compose" / "start")
SECONDS = 60.0


@pytest.fixture
def environment(hornet: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "hornet").symlink_to(hornet)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TANGLE_DEPTH": "6", "TANGLE_MILESTONE_SECONDS": "1"}


@pytest.fixture
def machine(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a node in a folder of this name."""
    with ExitStack() as undo:

        def start(name: str, own: Ports, other: Ports, **variables: str) -> subprocess.Popen[bytes]:
            addresses = zip(("TANGLE_API", "TANGLE_GOSSIP", "TANGLE_FEED"), (own.api, own.gossip, own.feed), strict=True)
            ours = {variable: f"{LOOPBACK}:{port}" for variable, port in addresses}
            peers = {"TANGLE_PEERS": f"{LOOPBACK}:{other.gossip}"}
            (tmp_path / name).mkdir(exist_ok=True)
            log = undo.enter_context((tmp_path / f"{name}.log").open("ab"))
            settings = {**environment, **ours, **peers, **variables}
            process = subprocess.Popen([START], cwd=tmp_path / name, env=settings, stdout=log, stderr=log)
            undo.callback(process.wait, SECONDS)
            undo.callback(process.kill)
            return process

        yield start


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def answers(ports: Ports, enough: Callable[[str], bool] = lambda url: bool(call(url, "getNodeInfo"))) -> bool:
    try:
        return enough(f"http://{LOOPBACK}:{ports.api}")
    except OSError:
        return False


def ready(ports: Ports) -> bool:
    return answers(ports, lambda url: len(connected_peers(url)) == 1 and synchronised(url))


def test_a_container_gets_all_variables_that_its_script_knows() -> None:
    """Compose hands the container a file as it is, and no variable that the file does not name."""
    lines = Path(START).with_name("compose.yaml").read_text().splitlines()
    assert "    env_file: .env" in [line.split("  #")[0] for line in lines]
    assert not any("environment:" in line for line in lines)


def test_the_page_names_all_variables_that_the_script_knows() -> None:
    page = (Path(__file__).parents[3] / "docs" / "private-tangle.md").read_text()
    known = set(re.findall(r"\b(?:TANGLE_|COO_)[A-Z_]+", Path(START).read_text())) - {"TANGLE_"}
    assert known
    assert not {variable for variable in known if f"`{variable}`" not in page}


def test_two_machines_meet_and_meet_again(
    machine: Callable[..., subprocess.Popen[bytes]], environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    seed = {"COO_SEED": new_seed()}
    made = subprocess.run([START, "keys"], cwd=tmp_path / "first", env={**environment, **seed}, capture_output=True, text=True, check=True)
    address = {"TANGLE_ADDRESS": re.findall(r"root: ([9A-Z]{81})", made.stdout)[0]}
    one, other = free_ports(2)
    for _ in range(2):
        running = [machine("first", one, other, **address, **seed, TANGLE_MOST_FOUND="5000")]
        wait_until(lambda: answers(one))  # they may miss each other, for minutes, if both call at the same moment
        running.append(machine("second", other, one, **address))
        wait_until(lambda: all(ready(node) for node in (one, other)))
        limits = [call(f"http://{LOOPBACK}:{node.api}", "getNodeAPIConfiguration")["maxFindTransactions"] for node in (one, other)]
        assert limits == [5000, 1000]
        for process in running:
            process.terminate()
        assert [process.wait(SECONDS) for process in running] == [0, 0]
