"""The keys of a storage `ipfs`: which daemon it uses, and what its own may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge, gt, min_len

from learnae.lowlevel import MEGABYTE, Matches, option
from learnae_ipfs.line import check_address

GIGABYTE = 1024 * MEGABYTE


def _address(_: object, __: Any, address: str | None) -> None:
    if address is not None:
        check_address(address)


@attrs.frozen
class IpfsStorageOptions:
    """Without `address` and `repo` the peer runs a daemon of its own. Only then the keys from `program` on have an effect."""

    address: str | None = option(None, "The RPC address of a daemon that you run, such as /ip4/127.0.0.1/tcp/5001.", _address)
    repo: Path | None = option(None, "The repo of a daemon that you run on this machine: its RPC is found also when its port changes.")
    search_seconds: float = option(10.0, "How long the network is searched without a block coming in.", gt(0.0))
    silence_seconds: float = option(30.0, "How long the daemon may be silent before it counts as gone.", gt(0.0))
    program: str | None = option(
        None, "The Kubo program, by its name or its path; without it that of LEARNAE_KUBO, or `ipfs`.", program=True
    )
    listen: tuple[str, ...] = option(
        ("/ip4/0.0.0.0/tcp/0",),
        "Where other daemons reach this one; port 0 is a free one, which stays.",
        [min_len(1), Matches(r"/[\x21-\x7e]+", "a list of addresses such as /ip4/0.0.0.0/tcp/4001")],
    )
    mdns: bool = option(False, "Let daemons of one local network find each other without hints.")
    public: bool = option(False, "Take part in the public IPFS network, with its bootstrap nodes and its DHT.")
    limit_bytes: int = option(10 * GIGABYTE, "Above three quarters of it, all that is not pinned is removed.", ge(64 * MEGABYTE))

    def __attrs_post_init__(self) -> None:
        if self.address is not None and self.repo is not None:
            raise ValueError("names a daemon twice: keep `address` or `repo`")
        if not self.managed:
            own = ("program", "listen", "mdns", "public", "limit_bytes")
            idle = [field.name for field in attrs.fields(type(self)) if field.name in own and getattr(self, field.name) != field.default]
            if idle:
                raise ValueError(f"has no effect with {', '.join(idle)}: that is for a daemon of the peer's own, without address and repo")

    @property
    def managed(self) -> bool:
        """Whether the peer runs a daemon of its own."""
        return self.address is None and self.repo is None
