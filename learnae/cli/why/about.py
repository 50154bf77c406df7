"""What is known of another peer or of a root now: why its update is fetched, or is not, as far as the history can tell."""

from __future__ import annotations

from collections.abc import Iterator

from learnae.cli.homes.state import HomeState
from learnae.cli.units import ago, moment, of_bytes
from learnae.node.insight import Sighting
from learnae.records import Cid, PeerId


def about_peer(seen: HomeState, peer: PeerId) -> Iterator[str]:
    """Sentences, the decisive one last."""
    if peer == seen.own:
        yield "This is this peer itself: its own updates are not fetched."
        return
    sighting = seen.sightings.get(peer)
    if sighting is None:
        yield "It was never heard: nothing that it signed has arrived here."
    else:
        yield _heard(sighting, seen)
    if (shut_out := seen.shut_out(peer)) is not None:
        yield f"Nothing that it sends is taken: it is {shut_out}."
        yield from _proofs(seen, peer)
    elif sighting is not None:
        yield _whether_fetched(seen, sighting)


def about_root(seen: HomeState, root: Cid) -> Iterator[str]:
    """Whose it is."""
    for own in (item for item in seen.history.published() if item.root == root):
        yield f"An own update: number {own.number:,}, age {own.age:,}, {of_bytes(own.bytes)}, published at {moment(own.at, seen.now)}."
    for sighting in (sighting for sighting in seen.sightings.values() if sighting.root == root):
        yield f"The newest update that peer {sighting.peer} has announced."
        yield from about_peer(seen, sighting.peer)


def _heard(sighting: Sighting, seen: HomeState) -> str:
    when = f"It was last heard {ago(seen.now - sighting.at)} ago, in round {sighting.round:,}"
    if sighting.number is None or sighting.lineage is None:
        return f"{when}, but it has announced no update."
    state = "young" if sighting.young else "grown"
    return f"{when}; its newest update: number {sighting.number:,}, age {sighting.age:,}, lineage {sighting.lineage.hex()} ({state})."


def _proofs(seen: HomeState, peer: PeerId) -> Iterator[str]:
    for proof in seen.history.proofs():
        if proof.peer == peer:
            halves = "both are" if proof.first else "the second is"
            yield f"It has signed two different messages of kind {proof.kind.name} under number {proof.number:,}; {halves} kept as a proof."


def _whether_fetched(seen: HomeState, sighting: Sighting) -> str:
    """The first of all conditions that is not met."""
    record, lineage, last = seen.records.get(sighting.peer), seen.standing.lineage, seen.history.last_round()
    fetched, tried = (record.fetched_number, record.last_tried) if record else (0, None)
    if sighting.number is None:
        return "So there is nothing to fetch."
    if seen.signature is not None and sighting.signature != seen.signature:
        return "It trains another architecture under this name, which cannot be merged; the verdict below names the first difference."
    if sighting.lineage != lineage:
        own = f"in lineage {lineage.hex()}" if lineage else "without a lineage yet"
        return f"This peer is {own}, and models of two lineages cannot be merged: `learnae rejoin` moves it."
    if sighting.number <= fetched:
        return f"Its number {fetched:,} was fetched already; an update is fetched once, so the next one is waited for."
    if not sighting.live:
        return "It has left, or was gone before this peer came: what is left behind is for newcomers, never for a round."
    if last - sighting.round > seen.node.fresh_rounds:
        return f"It has been silent for {last - sighting.round:,} rounds; after {seen.node.fresh_rounds} an update is too old."
    if tried is None:
        return f"Its update is a candidate, but was not chosen yet: a round takes {seen.count}, and of the never accepted one at most."
    failures = record.failures if record else 0
    waits = f", {failures} in a row without success: each doubles its wait" if failures else ""
    doubt = f" It is trusted {record.trust:.0%}: so many of the usual turns it has." if record and 0 < record.trust < 1 else ""
    return f"Its newest update is a candidate; the last try was in round {tried:,}{waits}.{doubt}"
