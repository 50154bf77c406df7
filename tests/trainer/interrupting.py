"""A trainer's session without processes, and interrupts before any instruction of the code that copies a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn

from learnae.link.messages import MergeResult, Start, Want
from learnae.trainer import copying, interrupts, loan, model_progress, session
from learnae.trainer.session import Session
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings

STRIDE = 11  # instructions; those in between are for the slow run
FIRST = [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(1, STRIDE))]
TRACED = {module.__file__ for module in (copying, interrupts, loan, session, model_progress)}


def interrupt() -> None:
    raise KeyboardInterrupt


class Interrupts:
    """Calls a handler before one instruction of the code that adopts, counted from 0."""

    def __init__(self, at: int = -1, handler: Callable[[], object] = interrupt) -> None:
        self.at, self.seen, self.handler = at, 0, handler

    def __enter__(self) -> Interrupts:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in TRACED:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self.seen += 1
            if self.seen - 1 == self.at:
                sys.settrace(None)  # it makes all that follows ten times slower
                self.handler()
        return self._trace


def make_model() -> nn.Module:
    """A parameter and a buffer of each kind, all 1; each is tried before every instruction, and so two pieces have to do."""
    model = nn.Module()
    model.a = nn.Parameter(torch.ones(3))
    model.b = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    model.c = nn.Parameter(torch.ones(2, dtype=torch.float64))
    model.d = nn.Buffer(torch.ones(2))
    model.n = nn.Buffer(torch.ones(3, dtype=torch.int64))
    return model


class Trainer:
    """A model in a swarm whose node offers 1.25 more of everything; what it was sent is kept."""

    def __init__(self, *, moved: bool) -> None:
        self.model, self.sent = make_model(), list[Any]()
        self.session = Session(find_shared(self.model), SwarmSettings(local_steps=1, patience=0.0))
        self.start: Start = self.session.begin(self.sent.append)
        self.session.hear(Want())
        self.step()
        for name, page in self.session.shared_memory.pages[0].items():
            page.copy_(self.session.shared_memory.slots[0][name] + (2 if name == "n" else 1.25))
        self.session.hear(MergeResult(self.start.hello.session, 1, 0, 0, b"lineage8", 100, "merged"))
        if moved:
            self.session.model_progress.steps += 1
            with torch.no_grad():
                for tensor in (*self.model.parameters(), *self.model.buffers()):
                    tensor.add_(1)
        self.session.hear(Want())

    def step(self) -> None:
        self.session.model_progress.steps += 1
        self.session.attend()

    def state(self) -> Any:
        values = {name: tensor.tolist() for name, tensor in self.model.state_dict().items()}
        residues = {name: rest.tolist() for name, rest in self.session.state_dict()["residues"].items()}
        return (
            values,
            residues,
            self.session.model_progress.lineage,
            self.session.model_progress.age,
            self.session.adoption,
            self.session._session_state.offer,
        )
