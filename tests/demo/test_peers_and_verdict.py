"""What the demo makes of the reports of its peers, and when it is content."""

from __future__ import annotations

from typing import Any

import pytest

from learnae.demo.director import shortcomings
from learnae.demo.processes import Counts, Peer, State


def line(steps: int, accuracy: float, merged: int, event: str = "progress") -> dict[str, Any]:
    counts = {"heard": 3, "merged": merged, "refused": 1, "bytes": 100, "fetched": 60, "rows": 0}
    return {"event": event, "act": "", "steps": steps, "accuracy": accuracy, "trained": accuracy / 2, **counts}


def ended(*accuracies: float | None, victim: int | None = 2, merged: int = 3) -> list[Peer]:
    """Peers at the end, of which one was killed and has merged so many updates since it came back."""
    peers = [Peer(number, (0,), State.DONE, accuracy=accuracy) for number, accuracy in enumerate(accuracies, 1)]
    if victim is not None:
        killed = peers[victim - 1]
        killed.killed_at, killed.back_at, killed.now = 5.0, 9.0, Counts(merged=merged)
    return peers


def test_a_peer_that_comes_back_counts_on_from_its_first_life() -> None:
    peer = Peer(2, (3, 4, 5))
    peer.hear({"event": "training", "steps": 0}, 1.0)
    peer.hear(line(20, 0.5, 7), 2.0)
    peer.die(3.0)
    assert (peer.state, peer.heard, peer.total.merged, peer.merged_since_return) == (State.KILLED, 0, 7, 0)
    peer.state = State.RETURNING
    peer.hear({"event": "training", "steps": 18}, 6.0)
    peer.hear(line(40, 0.75, 4), 7.0)
    peer.hear(line(60, 0.875, 5, "final"), 8.0)
    assert (peer.state, peer.steps, peer.back_at) == (State.DONE, 60, 6.0)
    assert peer.total == Counts(merged=12, refused=2, bytes=200)
    assert peer.merged_since_return == 5
    assert peer.curve == [(2.0, 0.5), (7.0, 0.75), (8.0, 0.875)]
    assert peer.trained == [(2.0, 0.25), (7.0, 0.375), (8.0, 0.4375)]


def test_the_demo_is_content_at_its_limits() -> None:
    assert shortcomings(ended(0.80, 0.88, 0.92, 0.92)) == []


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        (ended(0.87, 0.88, 0.88, 0.88), "the mean accuracy is 0.877, and should be at least 0.88"),
        (ended(0.99, 0.99, 0.79, 0.99), "peer 3 has an accuracy of 0.790, and should have at least 0.80"),
        (ended(0.95, 0.95, 0.95, 0.95, merged=2), "peer 2 was killed and merged 2 updates after its return"),
        (ended(0.95, 0.95, 0.95, 0.95, victim=None), "no peer was killed"),
        (ended(0.95, None, 0.95, None), "peer 2, peer 4 never reported an accuracy"),
    ],
    ids=["mean", "worst", "return", "nobody killed", "silent"],
)
def test_the_demo_says_why_it_is_not(peers: list[Peer], said: str) -> None:
    (found,) = shortcomings(peers)
    assert found.startswith(said)


def test_all_shortcomings_are_named() -> None:
    assert len(shortcomings(ended(0.5, 0.6, 0.7, 0.8, merged=0))) == 3


def test_a_killed_peer_that_never_came_back_has_merged_nothing_since() -> None:
    peers = ended(0.95, 0.95, 0.95, 0.95)
    peers[1].back_at = None
    assert "merged 0 updates" in shortcomings(peers)[0]
