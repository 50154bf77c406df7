"""Faults by plan: every few seconds one process is killed and another one frozen, by a seeded choice."""

from __future__ import annotations

import signal
import time
from collections import Counter
from random import Random

import attrs

from tests.support.fault_injection.peers import PeerProcesses, send

FREEZE_SECONDS = (0.5, 3.0)


@attrs.define
class FaultInjector:
    """`injected` counts what it did."""

    peers: PeerProcesses
    seed: int
    pause: float = 3.0  # seconds between two faults
    injected: Counter[str] = attrs.field(factory=Counter)
    _frozen: dict[int, float] = attrs.field(factory=dict)  # until when
    _random: Random = attrs.field(default=attrs.Factory(lambda self: Random(self.seed), takes_self=True))

    def inject(self, seconds: float) -> None:
        """Do harm for so long, and leave nobody frozen."""
        end = time.monotonic() + seconds
        try:
            while not self.peers.done and (now := time.monotonic()) < end:
                self._kill()
                self._freeze(now)
                self._tend_until(min(end, now + self.pause))
        finally:
            self._thaw(float("inf"))

    def _kill(self) -> None:
        """The trainer or the node of anyone; of two processes the other one must cope."""
        targets = [
            (kind, pid) for member in self.peers.working for kind in ("trainer", "node") if (pid := getattr(member, kind)) is not None
        ]
        if targets:
            kind, pid = self._random.choice(targets)
            send(pid, signal.SIGKILL)
            self.injected[f"{kind} killed"] += 1

    def _freeze(self, now: float) -> None:
        targets = [pid for member in self.peers.working for pid in (member.trainer, member.node) if pid is not None]
        if targets:
            pid = self._random.choice(targets)
            send(pid, signal.SIGSTOP)
            self._frozen[pid] = now + self._random.uniform(*FREEZE_SECONDS)
            self.injected["frozen"] += 1

    def _tend_until(self, end: float) -> None:
        while not self.peers.done and (now := time.monotonic()) < end:
            self._thaw(now)
            self.peers.tend(min([end, *self._frozen.values()]))

    def _thaw(self, now: float) -> None:
        for pid in [pid for pid, until in self._frozen.items() if until <= now]:
            send(pid, signal.SIGCONT)
            del self._frozen[pid]
