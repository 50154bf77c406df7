"""Hornet's API, as far as a tangle is looked after with it."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

CALL_SECONDS = 10.0
LONGEST_ANSWER = 16 * 1024 * 1024


def call(url: str, command: str, **arguments: Any) -> dict[str, Any]:
    """One call, by no proxy. Raises OSError."""
    body = json.dumps({"command": command, **arguments}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "X-IOTA-API-Version": "1"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=CALL_SECONDS) as answer:
        result: dict[str, Any] = json.loads(answer.read(LONGEST_ANSWER))
    return result


def synchronised(url: str) -> bool:
    """Whether the node knows all of the tangle up to the newest milestone, and there is one. Raises OSError."""
    info = call(url, "getNodeInfo")
    return bool(info["latestMilestoneIndex"] == info["latestSolidSubtangleMilestoneIndex"] > 0)


def connected_peers(url: str) -> set[str]:
    """Their addresses. Raises OSError."""
    return {peer["address"] for peer in call(url, "getNeighbors")["neighbors"] if peer["connected"]}
