"""What storages and announcers find about their outside world, each asked for a limited time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from learnae.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from learnae.cli.check.findings import Findings
    from learnae.node.services import Service

CHECK_SECONDS = 20.0


async def check_services(services: Iterable[Service], findings: Findings) -> None:
    """Raises nothing that a service does: it becomes a problem, and the next one is asked."""
    for service in services:
        with trio.move_on_after(CHECK_SECONDS) as limit:
            await _check(service, findings)
        if limit.cancelled_caught:
            message = f"found nothing out about its surroundings within {CHECK_SECONDS:.0f} s"
            findings.problems.add(service.label, message, "see that what it needs can be reached, and answers")


async def _check(service: Service, findings: Findings) -> None:
    with findings.problems.collected():
        try:
            with service.calling(f"checking the surroundings of {service.label}", within=CHECK_SECONDS, ours=(Unavailable, ConfigError)):
                findings.passed.extend([f"{service.label}: {line}" for line in await service.strategy.check()])
        except Unavailable as error:
            findings.problems.add(service.label, str(error), "wait for it, or see that it can be reached")
