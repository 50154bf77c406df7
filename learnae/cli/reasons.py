"""What each reason means for which a message or an update is refused; docs/watching.md shows the same table."""

from __future__ import annotations

from collections.abc import Mapping

MESSAGES: Mapping[str, str] = {
    "duplicate": "the same message again: usual, where media repeat or are several",
    "replay": "an old message again: usual, where a medium keeps them",
    "foreign": "of another swarm on the same medium",
    "oversized": "longer than any message or block may be",
    "seal": "not sealed with the key of this swarm: noise, or somebody without the key",
    "signature": "the signature is not that of the named peer",
    "crowded": "not looked at: its medium brings more than is checked; what counts is said again",
    "too-often": "not looked at: this peer has signed more than any peer has to say",
    "unknown-kind": "a kind of message that this version does not know",
    "denied": "the peer is denied, by the file or by `learnae deny`",
    "not-allowed": "the peer is not among those that the file allows",
    "refused-peer": "the peer is refused for good since its equivocation",
    "equivocation": "two different messages signed under one number: kept as a proof",
}
"""Of what never became a candidate; counted, and shown by `learnae status`."""

UPDATES: Mapping[str, str] = {
    "malformed": "not of the form that messages and updates have",
    "version": "written in another version of the format",
    "cid": "a name of a block that is none, or of the wrong sort",
    "not-canonical": "not in the one form in which the same content is always written",
    "place": "tensors that overlap, leave gaps, or do not fit their blocks",
    "too-large": "larger than an update of this model can be, or than `peer.max_update_bytes`",
    "not-the-announced": "fetched, but it names another peer, number or kind than its announcement",
    "architecture": "other tensors than those of this peer's model",
    "length": "a tensor of integers with the wrong number of bytes",
    "codec": "a tensor whose bytes do not fit its shape or its codec",
    "unknown-codec": "encoded by a codec that is not installed here",
    "unusable-codec": "encoded by a codec that is installed, but broken",
    "wrong-shape": "gate sane: a tensor of another shape",
    "non-finite": "gates sane and clip: values that are infinite or not a number",
}
"""Of what was chosen, and refused while it was fetched, decoded or judged; shown by `learnae why`."""


def meaning(reason: str) -> str:
    """What stands before the first colon decides; empty for a reason that a plugin made up."""
    slug = reason.partition(":")[0].strip()
    return UPDATES.get(slug) or MESSAGES.get(slug, "")
