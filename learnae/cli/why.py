"""`learnae why`: tells what became of each update, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from learnae.cli import options
from learnae.cli.home_state import HomeState, Subject, find_subject, read_home
from learnae.cli.homes import command_for, find_home, home_and_rest
from learnae.cli.options import ago, counted, moment, of_bytes
from learnae.config.tables import SERVING
from learnae.node.history_reader import Sighting
from learnae.node.kept import KeptTable
from learnae.observations import UpdateVerdict
from learnae.outlets import print_json, print_result
from learnae.records import Cid, PeerId
from learnae.texts import CELL_CHARACTERS, harmless

MESSAGES: Mapping[str, str] = {
    "duplicate": "the same message again: usual, where media repeat or are several",
    "replay": "an old message again: usual, where a medium keeps them",
    "foreign": "of another swarm on the same medium",
    "oversized": "longer than any message or block may be",
    "seal": "not sealed with the key of this swarm: noise, or somebody without the key",
    "signature": "the signature is not that of the named peer",
    "crowded": "not looked at: its medium brings more than this peer checks. Honest peers repeat what counts",
    "too-often": "not looked at: this peer has signed more than any peer has to say",
    "unknown-kind": "a kind of message that this version does not know",
    "unwanted-kind": "readings of a sensor, or rows: usual, where this peer's file asks for none",
    "denied": "the peer is denied, by the file or by `learnae deny`",
    "not-allowed": "the file allows others, not this peer",
    "refused-peer": "the peer is refused for good since its equivocation",
    "equivocation": "two different messages signed under one number: kept as a proof",
}
"""Of what never became a candidate; counted, and shown by `learnae status`."""

UPDATES: Mapping[str, str] = {
    "malformed": "not of the form that messages and updates have",
    "version": "written in another version of the format",
    "cid": "the name of a block is not a CID, or is of the wrong sort",
    "not-canonical": "not in the one form in which the same content is always written",
    "place": "tensors that overlap, leave gaps, or do not fit their blocks",
    "too-large": "larger than an update of this model can be, or than `peer.max_update_bytes`",
    "not-the-announced": "fetched, but it names another peer, number or kind than its announcement",
    "architecture": "its tensors are not those of this peer's model",
    "length": "a tensor of integers with the wrong number of bytes",
    "codec": "a tensor whose bytes do not fit its shape or its codec",
    "unknown-codec": "encoded by a codec that is not installed here",
    "unusable-codec": "encoded by a codec that is installed, but broken",
    "base": "an update that builds on what it may not: a version of another peer, a newer one, one that has a base itself",
    "wrong-shape": "gate sane: a tensor of another shape",
    "non-finite": "values that are infinite or not a number",
}
"""Of what was chosen, and refused while it was fetched, decoded or judged; shown by `learnae why`."""


SLICES: Mapping[str, str] = {
    "kind": "fetched as a slice of rows, and it is none, or one that another program has packed",
    "announced": "other rows, labels or features than were announced",
    "schema": "its columns are not those of this peer's rows, or do not fit together",
    "words": "a word that no category of this peer's rows has, or a code without a word",
    "labels": "a label that is not known here, or other numbers of labels than it says",
    "sketch": "other features than it says",
    "range": "a value outside of the range that the file names",
    "licence": "its licence is none that the file accepts",
    "forgotten": "of a peer whose rows are refused since `learnae data forget`",
}
"""Of slices of rows that were fetched, and do not come into the pool."""


ADOPTING = ("joined", "moved", "yielded", "rejoined")
"""The outcomes of rounds in which a model of others was taken over as a whole."""
LOOKED_AT = 1000  # rounds

SERVING_FATES: Mapping[str, str] = {
    "keeper": "No update was turned away: what was fetched was stored. A keeper merges nothing; `learnae status` says what it keeps.",
    "provider": "A provider fetches no updates, and merges none: it gives rows.",
}
"""By role."""


def meaning(reason: str) -> str:
    """What stands before the first colon decides; empty for a reason that a plugin made up."""
    slug = reason.partition(":")[0].strip()
    return UPDATES.get(slug) or SLICES.get(slug) or MESSAGES.get(slug, "")


def facts(home: Path, text: str | None, most: int) -> dict[str, Any]:
    """JSON-ready. Raises ConfigError for a subject that is unknown, or that could be several."""
    with read_home(home) as seen:
        subject = find_subject(text, seen.history) if text is not None else Subject()
        return {
            "home": str(home),
            "role": seen.peer.role,
            "at": seen.now,
            "peer": subject.peer,
            "root": subject.root,
            "situation": _situation(seen, subject),
            "tried": sum(seen.history.reader.totals().get(fate, 0) for fate in ("merged", "refused", "failed", "lost")),
            "lineage": _lineage(seen),
            "adopted": _adopted(seen),
            "verdicts": _verdicts(seen, _asked_for(seen, subject, most)),
        }


def _lineage(seen: HomeState) -> str | None:
    rounds = seen.history.reader.past_rounds(1)
    return (seen.lineage_state.lineage or (rounds[0].lineage if rounds else b"")).hex() or None


def _adopted(seen: HomeState) -> dict[str, Any] | None:
    """The last round in which it took over a model of others as a whole, of those that are looked at."""
    rounds = seen.history.reader.past_rounds(LOOKED_AT)
    return next(({"round": one.round, "outcome": one.outcome, "at": one.at} for one in rounds if one.outcome in ADOPTING), None)


def _asked_for(seen: HomeState, subject: Subject, most: int) -> list[UpdateVerdict]:
    if subject == Subject():
        return seen.history.reader.turned_away(most)
    return seen.history.reader.verdicts(peer=subject.peer, root=subject.root, limit=most)


def _situation(seen: HomeState, subject: Subject) -> list[str]:
    if subject.peer is not None:
        return list(about_peer(seen, subject.peer))
    return list(about_root(seen, subject.root)) if subject.root is not None else []


def _verdicts(seen: HomeState, verdicts: Sequence[UpdateVerdict]) -> list[dict[str, Any]]:
    """With the moment at which their round ended, null for one that is forgotten."""
    times = seen.history.reader.round_times({verdict.round for verdict in verdicts})
    return [{**attrs.asdict(verdict), "at": times.get(verdict.round)} for verdict in verdicts]


Facts = dict[str, Any]

_BLANKS = re.compile("[ \u00a0\u2000-\u200a\u3000]{2,}")


def told(found: Facts) -> Iterator[str]:
    """Who or what it is about, how that stands, the fate of each update, and what the reasons mean."""
    about = found["peer"] or found["root"]
    if about:
        yield f"{'peer' if found['peer'] else 'root'} {about}"
    yield from (f"  {sentence}" for sentence in found["situation"])
    if not found["verdicts"]:
        yield _nothing_to_tell(found)
    for verdict in found["verdicts"]:
        whose = "" if found["peer"] else f"peer {verdict['peer'][:8]}, "
        what = "slice" if verdict["stage"] == "slice" else "update"
        yield f"{_when(verdict, found['at'])}: {whose}{what} {verdict['number']:,} {fate(verdict)}"
    yield from _legend(found["verdicts"])


def _nothing_to_tell(found: Facts) -> str:
    """Of whoever makes no rounds, and of a newcomer, "nothing was ever tried" would be no answer."""
    if (serving := SERVING_FATES.get(found["role"])) is not None:
        return serving
    if found["peer"] or found["root"]:
        return "None of its updates was ever tried."
    if found["tried"]:
        return "Every update that was tried has been merged."
    if found["lineage"] is None:
        command = command_for(Path(found["home"]), "status")
        return f"This peer has no lineage yet: it listens for models to adopt. {command} shows whom it hears."
    if (adopted := found["adopted"]) is not None:
        when = f"{adopted['outcome']} in round {adopted['round']:,} ({moment(adopted['at'], found['at'])})"
        return f"This peer has adopted a model of others as a whole: {when}. No update of another peer was tried in a round so far."
    return "No update of another peer was ever tried."


def fate(verdict: Facts) -> str:
    """What became of one update."""
    stage, reason = verdict["stage"], _theirs(verdict["reason"])
    if verdict["merged"]:
        return f"fetched, {_scaled(verdict)}merged with weight {verdict['weight']:.3g}{_remark(verdict)}"
    if stage == "fetch":
        return f"could not be fetched: {reason}"
    if stage == "plugin":
        return f"lost here, and refused by nobody: {reason}"
    if stage == "decode":
        return f"refused before any gate: {reason}"
    if stage == "architecture":
        return f"not fetched, since its model is another: {reason}"
    if stage == "slice":
        return f"not kept: {reason}"
    if stage == "join":
        return f"fetched to be adopted, but not adopted: {reason}"
    if verdict["weight"] == 0:
        return f"fetched, refused by gate {stage}: {reason}"
    return f"fetched, accepted with weight {verdict['weight']:.3g}, but not merged: {reason}"


def _theirs(reason: str) -> str:
    """Blanks move nothing to where a line of ours might begin."""
    return harmless(_BLANKS.sub(" ", reason), CELL_CHARACTERS)


def _scaled(verdict: Facts) -> str:
    if verdict["scale"] == 1 or not verdict["scale"]:
        return ""
    return f"scaled to {verdict['scale']:.2g} by {verdict['stage']} ({_quoted(verdict)}), "


def _quoted(verdict: Facts) -> str:
    """A scale of 0.31 means a displacement of 3.2 times the limit."""
    return f"{1 / verdict['scale']:.2g} times the limit: {_theirs(verdict['reason'])}"


def _remark(verdict: Facts) -> str:
    return f" ({verdict['stage']}: {_theirs(verdict['reason'])})" if verdict["reason"] and verdict["scale"] == 1 else ""


def _when(verdict: Facts, now: float) -> str:
    at = f" ({moment(verdict['at'], now)})" if verdict["at"] else ""
    return f"round {verdict['round']:,}{at}"


def _legend(verdicts: list[Facts]) -> Iterator[str]:
    slugs = dict.fromkeys(verdict["reason"].partition(":")[0] for verdict in verdicts if not verdict["merged"])
    meanings = [f"  {slug}: {meaning(slug)}" for slug in slugs if meaning(slug)]
    if meanings:
        yield "where"
        yield from meanings


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
        yield _whether_kept(seen, sighting) if seen.peer.role in SERVING else _whether_fetched(seen, sighting)


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
    state = "provisional" if sighting.provisional else "established"
    return f"{when}; its newest update: number {sighting.number:,}, age {sighting.age:,}, lineage {sighting.lineage.hex()} ({state})."


def _proofs(seen: HomeState, peer: PeerId) -> Iterator[str]:
    for proof in seen.history.proofs():
        if proof.peer == peer:
            halves = "both are" if proof.first else "the second is"
            yield f"It has signed two different messages of kind {proof.kind.name} under number {proof.number:,}; {halves} kept as a proof."


def _whether_kept(seen: HomeState, sighting: Sighting) -> str:
    """By a peer that does not train."""
    if seen.peer.role != "keeper":
        return "This peer fetches no updates: it is a provider."
    numbers = [row.number for row in KeptTable(seen.history.database).rows() if row.peer == sighting.peer]
    if not numbers:
        return "This keeper keeps none of its updates."
    behind = sighting.number is not None and sighting.number > max(numbers)
    later = ": the newer one was not fetched yet, could not be had, or found no room" if behind else ""
    return f"This keeper keeps {counted(len(numbers), 'update')} of it, the newest with number {max(numbers):,}{later}."


def _whether_fetched(seen: HomeState, sighting: Sighting) -> str:
    """The first of all conditions that is not met."""
    record, lineage, last = seen.records.get(sighting.peer), seen.lineage_state.lineage, seen.history.last_round()
    fetched, tried = (record.fetched_number, record.last_tried) if record else (0, None)
    if sighting.number is None:
        return "So there is nothing to fetch."
    if seen.architecture is not None and sighting.architecture != seen.architecture:
        return "It trains another architecture under this name, which cannot be merged; the verdict below names the first difference."
    if sighting.lineage != lineage:
        if not lineage:
            return "This peer has no lineage yet: when it joins, it may adopt this model."
        command = command_for(seen.home, "rejoin")
        return f"This peer is in lineage {lineage.hex()}, and models of two lineages cannot be merged: {command} moves it."
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


@click.command()
@options.home
@click.argument("subject", required=False, metavar="[PEER|ROOT]")
@click.option("--last", "most", type=click.IntRange(min=1, max=500), default=20, show_default=True, help="How many updates to tell of.")
@options.as_json
def why(home: str | None, subject: str | None, most: int, as_json: bool) -> None:
    """Show what became of the updates of PEER, or of the update ROOT, the newest first. Without either, show what was not merged.

    PEER is the beginning of a key, at least 4 digits. ROOT is the beginning of a root, at least 12 letters. HOME is a peer's folder or its
    TOML file. Without HOME it is learnae.toml in this folder, or else the home under the state folder.
    """
    home, subject = home_and_rest(home, subject)
    found = facts(find_home(home), subject, most)
    if as_json:
        print_json(found, indent=2)
    else:
        print_result(*told(found))
