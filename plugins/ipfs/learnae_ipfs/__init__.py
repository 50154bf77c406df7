"""IPFS as a storage of Learnae. This module is light: listing plugins imports it."""

from collections.abc import Mapping

from learnae import CommandEntry, hookimpl


@hookimpl
def learnae_register_storage() -> Mapping[str, str]:
    return {"ipfs": "learnae_ipfs.storage:IpfsStorage"}


@hookimpl
def learnae_register_demo() -> Mapping[str, str]:
    return {"ipfs": "learnae_ipfs.demo:daemons_on_loopback"}


@hookimpl
def learnae_register_commands() -> Mapping[str, CommandEntry]:
    return {"ipfs": CommandEntry(place="learnae_ipfs.command:ipfs", short_help="Let your own IPFS daemon into a swarm.")}
