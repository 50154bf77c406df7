"""The script of the Compose file, run on a repo as the image makes it: it leaves as private a daemon as Learnae's own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from learnae_ipfs.managed.settings import Settings

SCRIPT = Path(__file__).parents[1] / "compose" / "private.sh"
ALIKE = [
    "Bootstrap",
    "AutoConf.Enabled",
    "AutoTLS.Enabled",
    "Discovery.MDNS.Enabled",
    "DNS.Resolvers",
    "HTTPRetrieval.Enabled",
    "Ipns.DelegatedPublishers",
    "Provide.Enabled",
    "Routing.Type",
    "Routing.DelegatedRouters",
    "Swarm.DisableNatPortMap",
    "Swarm.RelayClient.Enabled",
    "Version.SwarmCheckEnabled",
    "Addresses.Gateway",
]


def at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = config[name]
    return config or None  # Kubo says null for an empty list


@pytest.mark.slow
def test_the_daemon_of_the_compose_file_calls_nobody(kubo_program: str, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ipfs").symlink_to(kubo_program)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "IPFS_PATH": str(tmp_path / "repo"), "HOST": "192.0.2.7"}
    for command in (["ipfs", "init"], ["sh", str(SCRIPT)]):
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    config = json.loads((tmp_path / "repo" / "config").read_text())
    ours = Settings(listen=(), public=False, mdns=False, limit_bytes=1 << 30, key=b"1" * 32).applied({}, "/unix/rpc")
    assert {path: at(config, path) for path in ALIKE} == {path: at(ours, path) for path in ALIKE}
    assert config["Addresses"]["Announce"] == ["/ip4/192.0.2.7/tcp/4001"]
