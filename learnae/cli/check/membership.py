"""Who can take part in a swarm, and read along, in one line for the user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learnae.config.tables import Config
    from learnae.identity.swarms import Swarm
    from learnae.node.assembly import Named


def membership(config: Config, swarm: Swarm, services: Iterable[Named[Any]]) -> str:
    """Of four kinds: private, by an allow list, open by consent, open to those who reach this machine's folders."""
    named = f"swarm {config.swarm.name!r} is"
    if swarm.key is not None:
        place = config.swarm.key_env or config.swarm.key_file
        return f"{named} private: the key in {place} is sound, its members show the fingerprint {fingerprint(swarm)}{_heard(config)}"
    if config.peer.allow:
        return f"{named} not private: its messages and models can be read by whoever reaches them{_heard(config)}"
    if any(service.strategy.leaves_machine for service in services):
        return f"{named} open, as swarm.open says: whoever comes takes part, and can read all of it"
    return f"{named} open to whoever can write to its folders: nothing of it leaves this machine by itself"


def fingerprint(swarm: Swarm) -> str:
    """Equal where both name and key are; it tells neither."""
    digits = swarm.channel[:16]
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _heard(config: Config) -> str:
    count = len(config.peer.allow)
    return f"; heard {'is' if count == 1 else 'are'} the {count} of peer.allow" if count else ""
