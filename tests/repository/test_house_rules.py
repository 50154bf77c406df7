"""What conftest.py promises, kept: run on made-up tests in a pytest of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"


@pytest.fixture
def house(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CI", raising=False)
    pytester.makeconftest(CONFTEST.read_text().replace("GRACE_SECONDS = 5.0", "GRACE_SECONDS = 0.1"))
    return pytester


def run(house: pytest.Pytester) -> pytest.RunResult:
    return house.runpytest_subprocess("-p", "no:cacheprovider")


NEEDY = """
    import pytest

    def test_a():
        pytest.skip("needs a moon")

    @pytest.mark.skipif(True, reason="needs a moon")
    def test_b():
        raise AssertionError

    def test_c():
        pytest.skip("a capability that this storage does not claim")
"""


def test_the_last_lines_name_what_this_machine_could_not_run(house: pytest.Pytester) -> None:
    house.makepyfile(NEEDY)
    result = run(house)
    assert result.outlines[-2:] == ["This machine could not run 2 of the tests:", "     2 needs a moon"]
    result.assert_outcomes(skipped=3)


def test_in_ci_what_could_not_run_has_failed(house: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    house.makepyfile(NEEDY)
    result = run(house)
    result.assert_outcomes(failed=1, errors=1, skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_in_ci_a_module_that_could_not_run_has_failed(house: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    house.makepyfile('import pytest\npytest.skip("needs a moon", allow_module_level=True)')
    assert run(house).ret != pytest.ExitCode.OK


@pytest.mark.parametrize("command", ["sleep 60 &", "setsid sleep 60 >&- 2>&- <&- & disown"], ids=["child", "orphan"])
def test_a_test_that_leaves_a_process_running_has_failed(house: pytest.Pytester, command: str) -> None:
    house.makepyfile(f"""
        import subprocess

        def test_a():
            subprocess.run(["bash", "-c", "{command}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    """)
    result = run(house)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines(["left running: .* sleep 60"])


def test_no_test_sees_the_state_folder_of_another(house: pytest.Pytester) -> None:
    house.makepyfile("""
        import os
        import pathlib

        def test_a():
            pathlib.Path(os.environ["XDG_STATE_HOME"], "learnae").mkdir()

        def test_b():
            assert list(pathlib.Path(os.environ["XDG_STATE_HOME"]).iterdir()) == []
    """)
    run(house).assert_outcomes(passed=2)
