"""Which strategies are not called after they hung, and until which round: twice as long each time that one hangs again soon."""

from __future__ import annotations

import attrs

from learnae.link.messages import Benched

MOST = 64  # times `bench_rounds`


@attrs.define
class Sentence:
    until: int  # rounds of this peer's nodes
    rounds: int
    times: int
    why: str


@attrs.define
class Bench:
    """`rounds` for the first time. Whoever has been called again for as many rounds as it sat is forgiven."""

    rounds: int
    _sentences: dict[str, Sentence] = attrs.field(factory=dict)

    def send(self, label: str, why: str, now: int) -> Sentence:
        """It hung in round `now`."""
        before = self._sentences.get(label)
        times = before.times + 1 if before and now < before.until + before.rounds else 1
        rounds = self.rounds * min(MOST, 2 ** (times - 1))
        self._sentences[label] = Sentence(now + rounds, rounds, times, why)
        return self._sentences[label]

    def at(self, now: int) -> tuple[Benched, ...]:
        """Who is benched in round `now`, and for how many rounds more."""
        return tuple(Benched(label, one.until - now, one.why) for label, one in self._sentences.items() if one.until > now)
