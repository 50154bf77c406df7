"""Every benchmark runs in its quick form, prints its tables, and leaves nothing running, also when it is interrupted."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

BENCH = Path(__file__).parents[2] / "bench"
PEERS = 2
START_SECONDS = 100.0

pytestmark = pytest.mark.slow


def rows_of(output: str) -> dict[str, list[str]]:
    """The cells of each row in all Markdown tables, by the first one."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in rows}


def quick(*command: str) -> str:
    result = subprocess.run([sys.executable, str(BENCH / command[0]), *command[1:], "--quick"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert re.match(r"\d{4}-\d\d-\d\d, \d+ cores", result.stdout), "the machine comes first"
    return result.stdout


def test_the_cost_to_a_trainer_is_measured():
    rows = rows_of(quick("trainer_cost.py"))
    assert len(rows["0.14 M"]) == 3
    assert float(rows["with Learnae, beside the others"][1]) > 0, "the node is counted"


def test_the_cost_of_a_round_is_measured_by_part():
    rows = rows_of(quick("round_cost.py"))
    assert {"encode", "put", "fetch: hashes", "decode", "gates", "merge", "all else"} <= set(rows)
    assert all(float(rows[part][1]) > 0 for part in ("encode", "decode", "merge")), "each took part in the rounds"


def test_what_the_peers_of_the_demo_reach_is_measured_merged_and_in_training():
    (row,) = (row for name, row in rows_of(quick("demo.py")).items() if name == "1")
    merged, trained = (float(cell.removesuffix(" %")) for cell in row[2:4])
    assert 0 < merged <= 100 and 0 < trained <= 100


def test_the_work_of_a_round_is_measured_by_part():
    rows = rows_of(quick("round_work.py", "--numpy"))
    assert {"encode", "gates", "merge, outer step, check, page", "all"} <= set(rows)


def test_the_cost_of_a_sketch_and_its_error_are_measured():
    assert len(rows_of(quick("sketches.py"))["digits, 64-32-10"]) == 4


def test_how_far_a_model_times_a_thousand_moves_an_honest_one_is_measured():
    rows = rows_of(quick("thousandfold.py"))
    assert float(rows["the mean alone"][0].split()[0]) > 100 > float(rows["the preset open"][0].split()[0])


def test_what_each_codec_takes_is_measured():
    digits, text, tuned = re.split(r"\nA transformer|`patch`: a transformer", quick("codecs.py"))
    codecs = {"`fp32`", "`bf16`", "`int8`", "`int4-delta`", "`random-subset`", "`sparse`", "`patch`"}
    assert codecs <= set(rows_of(digits))
    assert all(float(rows_of(digits)[codec][3]) < 1 for codec in codecs - {"`fp32`", "`patch`"}), "each takes less than float32"
    assert float(rows_of(text)["`int4-delta`"][2]) < float(rows_of(text)["`fp32`"][2])
    assert {row[-1] for name, row in rows_of(tuned).items() if name in ("1e-06", "3e-06")} == {"yes"}


def test_each_term_of_the_planners_formula_is_left_out_once():
    rows = rows_of(quick("data_exchange.py", "--ablation"))
    assert {"the whole formula", "without coverage", "without difference", "a random worth"} <= set(rows)


def test_selectors_are_compared_by_what_the_models_reach():
    rows = rows_of(quick("whom_to_fetch.py"))
    assert len(rows["dissimilar"]) == 4 and float(rows["nearby"][1]) > 0


def test_the_growing_dataset_is_compared_with_one_that_lies_in_memory():
    rows = rows_of(quick("dataset.py"))
    assert all(
        float(rows[f"64 numbers, {slices}"][2]) > 0 for slices in ("1 slices, 0 workers", "25 slices, 0 workers", "1 slices, 2 workers")
    )


def test_memory_and_its_growth_are_measured():
    rows = rows_of(quick("memory.py"))
    assert rows["0"][3] == "no", "torch is not in the node"
    assert float(rows["node"][0]) > 0


def test_goodput_under_kills_is_measured():
    rows = rows_of(quick("chaos.py"))
    assert float(rows["useful steps a second, all peers"][0]) > 0
    assert rows["broken files"] == ["0", "0"], "a kill leaves files unfinished, and none broken"


def test_what_hostile_members_do_is_measured():
    output = quick("poisoning.py")
    assert {"sign flip of the mean", "stale models", "common far point", "label flip", "mean minus 1.5 sigma"} <= set(rows_of(output))
    found = [float(cell.split()[0]) for cell in rows_of(output)["sign flip of the mean"]]
    assert all(0 < one <= 100 for one in [*found, float(output.split("nobody hostile: ")[1].split()[0])])


def test_the_acceptance_table_is_reproduced_in_short(tmp_path):
    output = quick("reproduce.py", "--rows", "shards", "--out", str(tmp_path))
    rows = rows_of(output)
    assert {"local only, shards", "mean of two, shards", "qgo, two fetched, shards"} <= set(rows) and "3 of 3: " in output
    assert all(0 < float(rows[name][2]) < 100 for name in ("local only, shards", "mean of two, shards"))
    assert (tmp_path / "reproduce.csv").read_text().count("\n") == 4 and (tmp_path / "reproduce.png").read_bytes().startswith(b"\x89PNG")


def test_what_shared_rows_are_worth_is_measured():
    far, _, bytes_ = quick("data_exchange.py").partition("Until the mean is")
    assert {"no updates", "static ring, mean", "the defaults"} <= set(rows_of(far))
    alone, pooled = (float(cell.split()[0]) for cell in rows_of(far)["no updates"][:2])
    assert 0 < alone < pooled, "rows of others teach what own ones cannot"
    assert {"updates only", "everything that is new", "the defaults, with slices", "planner"} <= set(rows_of(bytes_))


def test_how_a_swarm_gets_over_a_disruption_is_measured(tmp_path):
    tables = quick("disruption.py", "--kind", "kill", "--csv", str(tmp_path / "cells.csv")).split("What travels: ")[1:]
    assert len(tables) == 2, "weights alone, and weights and data"
    for table in tables:
        then, undisturbed = (float(cell.split()[0]) for cell in rows_of(table)["kill"][1:3])
        assert then != undisturbed, "it was disturbed"
        assert rows_of(table)["kill"][7] == "1", "all are in one lineage in the end"
    cells = (tmp_path / "cells.csv").read_text().splitlines()
    assert len(cells) == 1 + 2, "a head, and a run of each form"


def test_what_many_identities_cost_is_measured():
    rows = rows_of(quick("identities.py"))
    useful = {attack: float(cells[0].split(",")[0]) for attack, cells in rows.items() if "," in cells[0]}
    attacks = {"blocks never come", "not finite", "blocks never come, there first"}
    assert set(useful) == attacks | {"none"}
    assert all(0 < useful[attack] < useful["none"] for attack in attacks), "the attacks bite"


def test_learnae_is_compared_with_gloo():
    output = quick("comparison.py", *(["--libp2p"] if importlib.util.find_spec("libp2p") is not None else []))
    assert "to 99.5% of central accuracy" in output
    assert {"gloo", "learnae"} <= set(rows_of(output))


def test_peers_with_different_rows_are_looked_at_between_two_merges():
    at_any_moment, _, course = quick("comparison.py", "--skewed").partition("In the course")
    ways = {f"{way}, {which}" for way in ("gloo", "learnae") for which in ("merged", "trained")}
    assert set(rows_of(at_any_moment)) >= ways and set(rows_of(course)) >= ways
    assert all(0 < float(cell) <= 1 for way in ways for cell in rows_of(at_any_moment)[way][:3])


def test_where_nothing_comes_late_learnae_is_compared_with_the_average_of_all():
    rows = rows_of(quick("lockstep.py", "--skewed"))
    assert float(rows["the default"][3]) > float(rows["the average of all"][3]) == 0, "the one goes through nodes, the other does not"
    assert all(0 < float(cell) <= 1 for way in ("the default", "the average of all") for cell in rows[way][:2])


def test_peers_that_train_nothing_average_as_fast_as_without_a_network():
    row = rows_of(quick("averaging.py"))["2 fetched, away 0"]
    alone, nodes = (float(cell.split()[0]) for cell in row[2:])
    assert abs(alone - nodes) <= 2, "rounds until the variance is below 1e-9"


def test_merge_rules_are_compared_on_text_by_what_they_send_and_fetch():
    rows = rows_of(quick("rules_text.py"))
    up, down = ({name.split("`")[1]: float(cells[place]) for name, cells in rows.items() if "`" in name} for place in (3, 4))
    assert set(up) == {"average", "diloco", "qgo", "noloco"}
    assert down["noloco"] / up["noloco"] < down["diloco"] / up["diloco"], "one fetched in a round, and three"


def test_the_others_go_on_when_one_of_a_swarm_is_killed():
    assert "trained to the end" in rows_of(quick("comparison.py", "--kill"))["learnae"]


def test_the_ipfs_storage_is_compared_with_the_command_line_of_kubo():
    if not (BENCH.parent / ".nodes" / "ipfs").exists() and not shutil.which("ipfs"):
        pytest.skip("needs go: apt-get install golang, then `make nodes`")
    rows = rows_of(quick("ipfs.py"))
    assert {"put", "get from the own daemon", "get from another daemon"} <= set(rows)
    assert float(rows["get from another daemon / `dag export`, receiving side"][0]) > 0


def test_the_libp2p_storage_is_compared_with_tls():
    if importlib.util.find_spec("libp2p") is None:
        pytest.skip("needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev, then make clean")
    rows = rows_of(quick("libp2p_blocks.py"))
    assert {"storage `libp2p`", "trio TLS"} <= set(rows)
    assert all(float(rows[name][0]) >= 0 for name in ("storage `libp2p`", "trio TLS"))


def test_a_swarm_over_libp2p_is_measured_under_churn():
    if importlib.util.find_spec("libp2p") is None:
        pytest.skip("needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev, then make clean")
    rows = rows_of(quick("libp2p_churn.py"))
    assert int(rows["then, without"][0]) >= 3 * 5, "each of five peers has merged three times"
    assert float(rows["PSS of a node, the median one, MiB (goal 180)"][2]) > 0


def test_slices_are_compared_with_arrow():
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install learnae[tables]")
    rows = rows_of(quick("slices.py"))
    assert {"our columns", "Arrow IPC", "Parquet, zstd"} <= set(rows)
    assert float(rows["our columns"][0]) > 0.9, "nothing is compressed"


def test_what_direct_connections_cost_is_measured():
    if importlib.util.find_spec("libp2p") is None:
        pytest.skip("needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev, then make clean")
    rows = rows_of(quick("libp2p_costs.py"))
    assert int(rows["from announcing to being heard, 3 peers"][0]) == 2 * 4, "both others have heard each message"
    assert float(rows["to connect"][1]) > 0 < float(rows["MB/s that it received"][0])


def test_whom_a_peer_reaches_in_a_large_swarm_is_counted():
    reached, _, found = quick("libp2p_large.py").partition("Who finds")
    assert rows_of(reached)["a minute after the last has come"][0] == "20"
    assert len(rows_of(found)["a minute later"]) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_leaves_nothing_running(number):
    with subprocess.Popen(
        [sys.executable, str(BENCH / "memory.py"), "--quick"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as bench:
        started = wait_for_nodes(psutil.Process(bench.pid))
        bench.send_signal(number)
        bench.wait(60)
    assert [process for process in started if is_running(process)] == []


def is_running(process: psutil.Process) -> bool:
    """A zombie is not: whoever adopted it reaps it when it comes to that."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_node(process: psutil.Process) -> bool:
    try:
        return "learnae.node" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def wait_for_nodes(bench: psutil.Process) -> list[psutil.Process]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        started = bench.children(recursive=True)
        if sum(map(is_node, started)) == PEERS:
            return started
        time.sleep(0.1)
    raise TimeoutError("the benchmark started no nodes")
