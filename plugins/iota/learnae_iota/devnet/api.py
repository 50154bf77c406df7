"""Hornet's API, as far as a tangle is looked after with it."""

from __future__ import annotations

from typing import Any

from learnae_iota.line import NodeApi, NodeNonsenseError, NodeRefusedError

CALL_SECONDS = 10.0


def call(url: str, command: str, **arguments: Any) -> dict[str, Any]:
    """One call. Raises OSError."""
    line = NodeApi(url, CALL_SECONDS)
    try:
        return line.ask(command, **arguments)
    except (NodeRefusedError, NodeNonsenseError) as error:
        raise OSError(str(error)) from error
    finally:
        line.close()


def synchronised(url: str) -> bool:
    """Whether the node knows all of the tangle up to the newest milestone, and there is one. Raises OSError."""
    info = call(url, "getNodeInfo")
    return bool(info["latestMilestoneIndex"] == info["latestSolidSubtangleMilestoneIndex"] > 0)


def connected_peers(url: str) -> set[str]:
    """Their addresses. Raises OSError."""
    return {peer["address"] for peer in call(url, "getNeighbors")["neighbors"] if peer["connected"]}
