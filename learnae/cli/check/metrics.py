"""Whether those who watch can be served: what `[metrics]` switches on needs a package, an address, a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from learnae.config.folder_trial import check_folder
from learnae.plugins.observers.server import serving_http
from learnae.plugins.observers.switched_on import find_observer

if TYPE_CHECKING:
    from learnae.cli.check.findings import Findings
    from learnae.config.tables import Config


def check_metrics(config: Config, findings: Findings) -> None:
    """The address is listened at for a moment."""
    if (address := config.metrics.prometheus) is not None:
        with findings.problems.collected():
            find_observer("prometheus", "serving")
            with serving_http(address, _silent, "metrics.prometheus"):
                findings.passed.append(f"metrics.prometheus: {address} is free")
    if (folder := config.metrics.tensorboard) is not None:
        with findings.problems.collected():
            find_observer("tensorboard", "writing")
            findings.passed.append(f"metrics.tensorboard: {check_folder(folder, 'metrics.tensorboard', shared=False)}")


def _silent(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Nobody asks it anything."""
    return []
