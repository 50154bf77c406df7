"""Commands that plugins offer, as their users meet them: typed behind `learnae`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

OFFERS = """
    from learnae import CommandEntry, hookimpl

    @hookimpl
    def learnae_register_commands():
        return {{"{name}": CommandEntry(place="{module}.command:{name}", short_help="{help}")}}
"""
MOON = """
    import sys
    import click
    from learnae import ConfigError, PluginError, Problem, UnavailableError

    @click.group()
    def moon():
        '''Around the moon.'''

    @moon.command()
    @click.option("--times", default=1, help="How often.")
    def rise(times):
        '''Let it rise.'''
        click.echo("up " * times)

    @moon.command()
    @click.argument("how")
    def fail(how):
        if how == "file":
            raise ConfigError(Problem("moon.phase", "is unknown", "write full or new"))
        if how == "wait":
            raise UnavailableError("the moon is behind the earth")
        if how == "bug":
            raise ValueError("no moon")
        if how == "group":
            raise ExceptionGroup("two", [ConfigError(Problem("moon.phase", "is unknown")), UnavailableError("clouds")])
        if how == "code":
            click.get_current_context().exit(7)
        if how == "exit":
            sys.exit(8)
        if how == "interrupt":
            raise KeyboardInterrupt
"""


def install(site: Path, name: str, files: Mapping[str, str], *, entry_points: str | None = None) -> None:
    """As pip would: a package, its metadata, its entry point."""
    module = name.replace("-", "_")
    for path, text in files.items():
        (site / module).mkdir(parents=True, exist_ok=True)
        (site / module / path).write_text(textwrap.dedent(text))
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points or f"[learnae]\n{name} = {module}\n")


def offering(module: str, name: str, told: str = "Around the moon.") -> str:
    return textwrap.dedent(OFFERS.format(module=module, name=name, help=told))


def moon(site: Path, plugin: str = "learnae-moon", name: str = "moon") -> None:
    """A plugin that offers the command `moon`."""
    module = plugin.replace("-", "_")
    install(site, plugin, {"__init__.py": offering(module, name), "command.py": MOON})


def test_the_commands_of_plugins_are_listed_with_their_distribution(learnae: Run, site: Path) -> None:
    moon(site)
    for plugin in ("one-sun", "another-sun"):
        moon(site, plugin, "sun")
    listed = learnae("plugins").stdout
    assert "learnae moon (learnae-moon 1.0): Around the moon." in listed
    assert "one-sun" in listed and "another-sun" in listed
    found = json.loads(learnae("plugins", "--json").stdout)
    [entry] = [entry for entry in found["commands"] if entry["name"] == "moon"]
    assert (entry["plugin"], entry["distribution"], entry["version"]) == ("learnae-moon", "learnae-moon", "1.0")
    assert not [entry for entry in found["commands"] if entry["name"] == "sun"]
    assert len(found["command_clashes"]) == 1


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed distributions."""
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


@pytest.fixture
def learnae(tmp_path: Path, site: Path) -> Run:
    """Types `learnae` where the distributions in `site` are installed."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(site), **variables}
        command = [sys.executable, "-m", "learnae", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_command_of_a_plugin_is_in_the_help_and_runs(learnae: Run, site: Path) -> None:
    moon(site)
    listed = learnae("--help")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split() for line in listed.stdout.splitlines() if line.startswith("  moon ")] == [["moon", "Around", "the", "moon."]]
    done = learnae("moon", "rise", "--times", "2")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["up", "up"], "")


def test_its_help_names_it_as_it_is_typed(learnae: Run, site: Path) -> None:
    install(site, "learnae-sun", {
        "__init__.py": offering("learnae_sun", "sun").replace("command:sun", "command:all_about_it"),
        "command.py": MOON.replace("def moon", "def all_about_it").replace("@moon", "@all_about_it"),
    })  # fmt: skip
    assert "Usage: learnae sun [OPTIONS]" in learnae("sun", "-h").stdout
    assert "Usage: learnae sun rise [OPTIONS]" in learnae("sun", "rise", "-h").stdout
    wrong = learnae("sun", "rise", "--timse", "2")
    assert wrong.returncode == 2 and "--timse" in wrong.stderr


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("file", 2, "moon.phase: is unknown (write full or new)"),
        ("wait", 4, "the moon is behind the earth: try again"),
        ("bug", 3, "plugin 'learnae-moon' failed"),
        ("group", 2, "moon.phase: is unknown"),
        ("code", 7, ""),
        ("exit", 8, ""),
        ("interrupt", 130, "interrupted"),
    ],
)
def test_its_errors_end_it_as_those_of_our_own_commands(learnae: Run, site: Path, how: str, code: int, told: str) -> None:
    moon(site)
    done = learnae("moon", "fail", how)
    assert done.returncode == code
    assert told in done.stderr and "bug of Learnae" not in done.stderr
    assert ("Traceback" in done.stderr) == (how == "bug")


def test_a_mistake_of_its_own_shows_where_it_was_made(learnae: Run, site: Path) -> None:
    moon(site)
    told = learnae("moon", "fail", "bug").stderr
    assert "ValueError: no moon" in told and "command.py" in told and "--debug" not in told


BROKEN = {
    "import": "import a_library_that_is_not_there",
    "exit": "import sys; sys.exit(3)",
    "syntax": "def",
    "raises": "return 1 / 0",
    "none": "return None",
    "list": "return ['moon']",
    "text": "return {'moon': 'learnae_bad.command:moon'}",
    "name": "return {'the moon': CommandEntry(place='learnae_bad.command:moon', short_help='Help.')}",
    "option": "return {'--moon': CommandEntry(place='learnae_bad.command:moon', short_help='Help.')}",
    "reference": "return {'moon': CommandEntry(place='learnae_bad.command', short_help='Help.')}",
    "help": "return {'moon': CommandEntry(place='learnae_bad.command:moon', short_help='Two\\nlines.')}",
    "silent": "return {'moon': CommandEntry(place='learnae_bad.command:moon', short_help='')}",
}


@pytest.mark.parametrize("flaw", BROKEN)
def test_a_broken_plugin_is_told_and_takes_nobody_a_command_away(learnae: Run, site: Path, flaw: str) -> None:
    code = BROKEN[flaw]
    if code.startswith("return"):
        code = f"from learnae import CommandEntry, hookimpl\n@hookimpl\ndef learnae_register_commands():\n    {code}\n"
    install(site, "learnae-bad", {"__init__.py": code})
    moon(site)
    listed = learnae("--help")
    assert listed.returncode == 0
    assert "\n  check " in listed.stdout and "\n  moon " in listed.stdout
    assert [line for line in listed.stderr.splitlines() if "learnae-bad" in line] != [] and "Traceback" not in listed.stderr
    assert learnae("key").stderr == ""
    assert learnae("moon", "rise").returncode == 0
    missing = learnae("trian")
    assert missing.returncode == 2
    assert "trian" in missing.stderr and "learnae-bad" in missing.stderr


def test_metadata_that_cannot_be_read_breaks_no_help(learnae: Run, site: Path) -> None:
    install(site, "learnae-bad", {"__init__.py": ""}, entry_points="[learnae]\nthis is no entry point\n")
    listed = learnae("--help")
    assert listed.returncode == 0 and "\n  check " in listed.stdout
    assert "Traceback" not in listed.stderr


def test_what_is_no_click_command_is_told_with_what_to_do(learnae: Run, site: Path) -> None:
    install(site, "learnae-bare", {"__init__.py": offering("learnae_bare", "bare"), "command.py": "def bare(): ..."})
    done = learnae("bare")
    assert done.returncode == 3
    assert "learnae-bare" in done.stderr and "@click.command()" in done.stderr


def test_listing_imports_no_command(learnae: Run, site: Path) -> None:
    install(site, "learnae-heavy", {"__init__.py": offering("learnae_heavy", "heavy"), "command.py": "raise RuntimeError('too early')"})
    listed = learnae("--help")
    assert (listed.returncode, listed.stderr) == (0, "") and "\n  heavy " in listed.stdout
    done = learnae("heavy")
    assert done.returncode == 3 and "too early" in done.stderr


def test_our_own_commands_look_at_no_plugin(learnae: Run, site: Path) -> None:
    install(site, "learnae-loud", {"__init__.py": "import sys; sys.stderr.write('looked at')"})
    assert learnae("key").stderr == ""
    assert "looked at" in learnae("--help").stderr


def test_a_name_of_ours_stays_ours(learnae: Run, site: Path) -> None:
    moon(site, name="key")
    listed = learnae("--help")
    assert listed.stdout.count("\n  key ") == 1
    assert "learnae-moon" in listed.stderr and "key" in listed.stderr
    assert learnae("key").stdout.startswith("learnae-key-")


def test_two_plugins_with_one_name_are_told_with_what_to_do(learnae: Run, site: Path) -> None:
    moon(site)
    moon(site, "learnae-luna")
    listed = learnae("--help")
    assert listed.returncode == 0 and "\n  moon " not in listed.stdout
    done = learnae("moon", "rise")
    assert done.returncode == 2
    for told in (listed.stderr, done.stderr):
        assert [word for word in ("learnae-moon", "learnae-luna", "LEARNAE_PLUGINS") if word not in told] == []
    assert learnae("moon", "rise", LEARNAE_PLUGINS="learnae-luna").stdout.split() == ["up"]


def test_a_plugin_that_is_left_out_offers_no_command(learnae: Run, site: Path) -> None:
    moon(site)
    assert "moon" not in learnae("--help", LEARNAE_PLUGINS="").stdout
    done = learnae("moon", LEARNAE_PLUGINS="")
    assert done.returncode == 2 and "LEARNAE_PLUGINS" in done.stderr


def test_a_command_of_a_plugin_for_another_learnae_is_not_run(learnae: Run, site: Path) -> None:
    moon(site)
    metadata = site / "learnae_moon-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: learnae>=99\n")
    assert learnae("--help").returncode == 0
    done = learnae("moon", "rise")
    assert (done.returncode, done.stdout) == (3, "") and "learnae>=99" in done.stderr
