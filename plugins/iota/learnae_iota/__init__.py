"""IOTA as an announcer of Learnae. This module is light: listing plugins imports it."""

from collections.abc import Mapping

from learnae import CommandEntry, hookimpl


@hookimpl
def learnae_register_announcer() -> Mapping[str, str]:
    return {"iota": "learnae_iota.announcer:IotaAnnouncer"}


@hookimpl
def learnae_register_demo() -> Mapping[str, str]:
    return {"iota": "learnae_iota.demo:tangle"}


@hookimpl
def learnae_register_commands() -> Mapping[str, CommandEntry]:
    return {"iota": CommandEntry(place="learnae_iota.command:iota", short_help="Run a private tangle on this machine.")}
