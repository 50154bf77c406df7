"""IOTA as an announcer of Learnae. This module is light: listing plugins imports it."""

from collections.abc import Mapping

from learnae import hookimpl


@hookimpl
def learnae_register_announcer() -> Mapping[str, str]:
    return {"iota": "learnae_iota.announcer:IotaAnnouncer"}


@hookimpl
def learnae_register_demo() -> Mapping[str, str]:
    return {"iota": "learnae_iota.demo:tangle"}
