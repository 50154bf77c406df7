"""Whether the demo has shown what it promises."""

from __future__ import annotations

from collections.abc import Sequence

from learnae.demo.peers import Peer

MEAN, WORST, MERGED = 0.88, 0.80, 3


def shortcomings(peers: Sequence[Peer]) -> list[str]:
    """Why the demo has failed, in plain words; empty if it has not."""
    silent = [peer.name for peer in peers if peer.accuracy is None]
    if silent:
        return [f"{', '.join(silent)} never reported an accuracy"]
    reached = {peer.name: peer.accuracy for peer in peers if peer.accuracy is not None}
    mean, worst = sum(reached.values()) / len(reached), min(reached, key=lambda name: reached[name])
    found = []
    if mean < MEAN:
        found.append(f"the mean accuracy is {mean:.3f}, and should be at least {MEAN:.2f}")
    if reached[worst] < WORST:
        found.append(f"{worst} has an accuracy of {reached[worst]:.3f}, and should have at least {WORST:.2f}")
    return found + _of_the_victim([peer for peer in peers if peer.killed_at is not None])


def _of_the_victim(killed: Sequence[Peer]) -> list[str]:
    if not killed:
        return ["no peer was killed"]
    return [
        f"{peer.name} was killed and merged {peer.merged_since_return} updates after its return, and should have merged at least {MERGED}"
        for peer in killed
        if peer.merged_since_return < MERGED
    ]
