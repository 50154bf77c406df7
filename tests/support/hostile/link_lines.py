"""The lines between a trainer and its node, in both directions."""

from __future__ import annotations

from collections.abc import Iterator

from learnae.errors import Problem
from learnae.link.messages import (
    MAX_LINE,
    Adopted,
    Evaluation,
    Failed,
    GarbledError,
    Hello,
    Lines,
    MergeResult,
    Message,
    Release,
    Report,
    Start,
    Taken,
    TrainerProgress,
    Want,
)
from learnae.observations import RoundReport, UpdateVerdict
from learnae.records import Cid, PeerId, TensorSpec
from tests.support.hostile.targets import Target
from tests.support.hostile.value_mutations import JSON

PROGRESS = TrainerProgress(3, b"lineage8", 700, 300, 9600, 0.025, 1.5, Evaluation(2, 3, {"loss": 0.5}))
HELLO = Hello(
    "run",
    "session",
    PROGRESS,
    (TensorSpec(name="a.weight", dtype="bfloat16", shape=(2, 3)), TensorSpec(name="n", dtype="int64", shape=(), buffer=True)),
    b"\x00\xff",
    "old",
    7,
)
VERDICT = UpdateVerdict(
    round=1, peer=PeerId("ab" * 32), number=5, root=Cid("bafy"), merged=True, weight=1.0, scale=0.5, stage="clip", reason="too long"
)
REPORT = RoundReport(
    round=1,
    seconds=0.5,
    lineage=b"lineage8",
    age=700,
    published=Cid("bafy"),
    published_bytes=10,
    fetched_bytes=20,
    heard=3,
    chosen=2,
    merged=1,
    refused=1,
    failed=0,
    outcome="merged",
    verdicts=(VERDICT,),
)
MESSAGES: tuple[Message, ...] = (
    Start(HELLO, {"swarm": {"name": "digits"}, "gate": [{"use": "sane"}]}, "/folder", "/home", 4, 5, ("a=1",), {"level": "info"}),
    Taken(1, PROGRESS),
    Taken(0, TrainerProgress(0, b"", 0, 1, 1, 0.0)),
    Adopted(8),
    Want(),
    Release(0),
    MergeResult("session", 4, 1, 0, b"lineage8", -20, "moved"),
    Report(REPORT, {"storage": "it is full", "announcer": "down"}),
    Failed("gone", (Problem("a.b", "is wrong", "write c"), Problem("d", "is missing"))),
)


def targets() -> Iterator[Target]:
    lines = Lines()

    def comes_back(data: bytes, message: Message) -> None:
        again = lines.encode(message, 20 * MAX_LINE)
        assert lines.encode(lines.decode(again, 20 * MAX_LINE), 20 * MAX_LINE) == again

    yield Target("line", lines.decode, (GarbledError,), tuple(map(lines.encode, MESSAGES)), (JSON,), comes_back)
