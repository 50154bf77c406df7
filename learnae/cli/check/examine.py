"""What `learnae check` looks at. Nothing is started, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from learnae.cli.check.findings import Findings
from learnae.cli.check.home import check_disk, check_home
from learnae.cli.check.metrics import check_metrics
from learnae.cli.check.strategies import check_strategies
from learnae.cli.run.entry import find_entry
from learnae.config.code import code_in, without_code
from learnae.config.load import disabled, load_what_can_be
from learnae.config.overrides import override
from learnae.config.problems import Problems
from learnae.config.toml import read
from learnae.plugins.manager import PluginManager

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config


def code_of(file: Path, overrides: Sequence[str]) -> list[str]:
    """What of this file is code, and imported to be looked at. Raises ConfigError for a file that cannot be read."""
    return code_in(override(read(file), overrides, Problems())[0])


def examine(file: Path, overrides: Sequence[str], log: FilteringBoundLogger, *, code: bool = True) -> Findings:
    """Look at the file, its plugins, its strategies, its entry and its folders: at each also where another is wrong.

    Without `code`, nothing in the file's folder is imported, no strategy is made, and nobody outside is asked.
    Raises only for a file that cannot be read.
    """
    document, folder, findings = read(file), file.absolute().parent, Findings()
    problems = findings.problems
    if not code:
        document, overrides = without_code(override(document, overrides, problems)[0]), ()
    with problems.collected():
        manager = PluginManager.discover(disabled(document, overrides), log=log, local=code)
        config, wrong = load_what_can_be(document, folder=folder, overrides=overrides, options_of=manager.options_of(folder))
        problems.found.extend(wrong.found)
        problems.broken.extend(wrong.broken)
        findings.passed.append(f"all keys of swarm {config.swarm.name!r}, and the plugins that they name")
        for look in (*((_check_entry,) if code else ()), check_home, check_disk, check_metrics):
            with problems.collected():
                look(config, findings)
        if code:
            with problems.collected():
                check_strategies(config, manager, findings)
    return findings


def _check_entry(config: Config, findings: Findings) -> None:
    if config.train.entry is None:
        findings.passed.append("no [train] entry: this file is for learnae.join(), `learnae run` needs one")
        return
    with findings.problems.collected(broken_at="train.entry"):
        find_entry(config.train.entry, config.folder)
        findings.passed.append(f"the entry {config.train.entry}")
