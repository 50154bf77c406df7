"""What a daemon of a peer's own may do, as Kubo's configuration says it. Nothing in here calls out unless it is asked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from learnae_ipfs.managed.ports import settled


@attrs.frozen(kw_only=True)
class Settings:
    """`key` is that of the private network, 32 bytes; None for none."""

    listen: Sequence[str]
    public: bool
    mdns: bool
    limit_bytes: int
    key: bytes | None

    def applied(self, config: Mapping[str, Any], rpc: str) -> dict[str, Any]:
        """Kubo's configuration with these settings in it, and its RPC at this address alone; what they do not speak of stays, the daemon's
        identity above all."""
        before = config.get("Addresses", {}).get("Swarm") or ()
        return _merged(_merged(config, _quiet(self, before, rpc)), _PUBLIC if self.public else _PRIVATE)

    @property
    def swarm_key(self) -> str | None:
        """The text of Kubo's file `swarm.key`."""
        return None if self.key is None else swarm_key_file(self.key)


def swarm_key_file(key: bytes) -> str:
    """The key of a private network as Kubo reads it."""
    return f"/key/swarm/psk/1.0.0/\n/base16/\n{key.hex()}\n"


def _quiet(settings: Settings, before: Sequence[str], rpc: str) -> dict[str, Any]:
    return {
        "Addresses": {"Swarm": settled(settings.listen, before), "API": rpc, "Gateway": []},
        "Datastore": {"StorageMax": f"{settings.limit_bytes}B"},
        "Discovery": {"MDNS": {"Enabled": settings.mdns}},
        "API": {"Authorizations": None},  # whoever can open the socket is let in, and nobody else can
        "AutoTLS": {"Enabled": False},
        "Version": {"SwarmCheckEnabled": False},
        "Plugins": {"Plugins": {"telemetry": {"Config": {"Mode": "off"}}}},
    }


_NO_TCP = ("QUIC", "Relay", "WebTransport", "WebRTCDirect", "Websocket")

# None is what Kubo does by itself. All that a private network changes is named, since a home may have been in one before.
_PUBLIC: dict[str, Any] = {
    "Bootstrap": ["auto"],
    "AutoConf": {"Enabled": True},
    "Routing": {"Type": "auto", "DelegatedRouters": ["auto"], "LoopbackAddressesOnLanDHT": None},
    "Ipns": {"DelegatedPublishers": ["auto"]},
    "DNS": {"Resolvers": {".": "auto"}},
    "Provide": {"Enabled": True, "Strategy": "roots"},
    "HTTPRetrieval": {"Enabled": None},
    "AutoNAT": {"ServiceMode": None},
    "Swarm": {
        "DisableNatPortMap": False,
        "EnableHolePunching": None,
        "RelayClient": {"Enabled": None},
        "RelayService": {"Enabled": None},
        "Transports": {"Network": dict.fromkeys(_NO_TCP)},
    },
}

# A private network speaks TCP alone, and has neither relays nor routers: its members know each other's addresses by hints.
_PRIVATE: dict[str, Any] = {
    "Bootstrap": [],
    "AutoConf": {"Enabled": False},
    "Routing": {"Type": "none", "DelegatedRouters": []},
    "Ipns": {"DelegatedPublishers": []},
    "DNS": {"Resolvers": {".": None}},
    "Provide": {"Enabled": False, "Strategy": None},
    "HTTPRetrieval": {"Enabled": False},
    "AutoNAT": {"ServiceMode": "disabled"},
    "Swarm": {
        "DisableNatPortMap": True,
        "EnableHolePunching": False,
        "RelayClient": {"Enabled": False},
        "RelayService": {"Enabled": False},
        "Transports": {"Network": dict.fromkeys(_NO_TCP, False)},
    },
}


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged, all else is replaced; what is None goes."""
    merged = dict(config)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else _plain(value)
    return {name: value for name, value in merged.items() if value is not None}


def _plain(value: Any) -> Any:
    return _merged({}, value) if isinstance(value, Mapping) else value
