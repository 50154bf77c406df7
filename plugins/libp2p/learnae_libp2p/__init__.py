"""Peers that connect directly, over libp2p. This module is light: listing plugins imports it."""

from collections.abc import Mapping

from learnae import hookimpl


@hookimpl
def learnae_register_storage() -> Mapping[str, str]:
    return {"libp2p": "learnae_libp2p.storage:Libp2pStorage"}


@hookimpl
def learnae_register_announcer() -> Mapping[str, str]:
    return {"gossipsub": "learnae_libp2p.announcer:GossipsubAnnouncer"}


@hookimpl
def learnae_register_demo() -> Mapping[str, str]:
    return dict.fromkeys(("libp2p", "gossipsub"), "learnae_libp2p.demo:one_introduces")
