"""A signal's handler may raise between any two instructions: an adoption is then finished, a snapshot handed over whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn

from learnae.link.contract import Offer
from learnae.link.messages import Adopted, Start, Taken, Want
from learnae.trainer import adoption, contact, copying, exchange, journey, pieces
from learnae.trainer.contact import Contact
from learnae.trainer.shared import find_shared
from learnae.trainer.terms import Terms

STRIDE = 11  # instructions; one after the other takes two minutes
TRACED = {module.__file__ for module in (adoption, contact, copying, exchange, journey, pieces)}


class Interrupts:
    """Raises KeyboardInterrupt before one instruction of the code that adopts, counted from 0."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.seen = at, 0

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
                raise KeyboardInterrupt
        return self._trace


def make_model() -> nn.Module:
    """A parameter and a buffer of each kind, all 1."""
    model = nn.Module()
    model.a = nn.Parameter(torch.ones(5))
    model.b = nn.Parameter(torch.ones(5, dtype=torch.bfloat16))
    model.c = nn.Parameter(torch.ones(2, dtype=torch.float64))
    model.d = nn.Buffer(torch.ones(3))
    model.n = nn.Buffer(torch.ones(3, dtype=torch.int64))
    return model


class Trainer:
    """A model in a swarm whose node offers 1.25 more of everything; what it was sent is kept."""

    def __init__(self, *, moved: bool) -> None:
        self.model, self.sent = make_model(), list[Any]()
        self.contact = Contact(find_shared(self.model), Terms(local_steps=1, patience=0.0))
        self.start: Start = self.contact.begin(self.sent.append)
        self.contact.hear(Want())
        self.step()
        for name, page in self.contact.area.pages[0].items():
            page.copy_(self.contact.area.slots[0][name] + (2 if name == "n" else 1.25))
        self.contact.hear(Offer(self.start.hello.session, 1, 0, 0, b"lineage8", 100, "merged"))
        if moved:
            self.contact.journey.steps += 1
            with torch.no_grad():
                for tensor in (*self.model.parameters(), *self.model.buffers()):
                    tensor.add_(1)
        self.contact.hear(Want())

    def step(self) -> None:
        self.contact.journey.steps += 1
        self.contact.attend()

    def state(self) -> Any:
        values = {name: tensor.tolist() for name, tensor in self.model.state_dict().items()}
        residues = {name: rest.tolist() for name, rest in self.contact.state_dict()["residues"].items()}
        return values, residues, self.contact.journey.lineage, self.contact.journey.age, self.contact.adoption, self.contact._exchange.offer


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CHUNK", 2)


@pytest.fixture
def make() -> Iterator[Callable[..., Trainer]]:
    made: list[Trainer] = []

    def trainer(**how: bool) -> Trainer:
        made.append(Trainer(**how))
        return made[-1]

    yield trainer
    for one in made:
        one.contact.area.close()


def instructions(make: Callable[..., Trainer], act: str, **how: bool) -> int:
    trainer = make(**how)
    with Interrupts() as counted:
        getattr(trainer.contact, act)()
    return counted.seen


def interrupted(trainer: Trainer, act: Callable[[], None], at: int) -> bool:
    try:
        with Interrupts(at):
            act()
    except KeyboardInterrupt:
        return True
    return False


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a second interrupt came as soon as what the first one cut short was about to be finished: a tracer that raises is gone."""
    monkeypatch.setattr(contact, "_to_the_end", lambda work: work())


def half_way(trainer: Trainer) -> None:
    """Interrupt it where `a` is adopted and `n` is not."""
    for at in range(400, 4000, 13):
        interrupted(trainer, trainer.contact.attend, at)
        if trainer.contact._adopting is not None and trainer.model.a[-1].item() > 2:
            break
    assert trainer.model.n.tolist() in ([1, 1, 1], [2, 2, 2])


@pytest.mark.parametrize("moved", [False, True])
def test_an_adoption_that_is_interrupted_anywhere_is_made_once_and_whole(make: Callable[..., Trainer], moved: bool) -> None:
    count, expected = instructions(make, "attend", moved=moved), make(moved=moved)
    expected.step()
    assert expected.contact.adoption == 1 and count > 500
    for at in range(0, count, STRIDE):
        trainer = make(moved=moved)
        trainer.contact.journey.steps += 1
        assert interrupted(trainer, trainer.contact.attend, at)
        half = {name: tensor.tolist() for name, tensor in trainer.model.state_dict().items()}
        begun = {name: value for name, value in half.items() if value != make_model().state_dict()[name].tolist()}
        if not moved:
            assert not begun or half == expected.state()[0], f"at {at} the interrupt came through with the model adopted in part"
        trainer.contact.attend()
        assert trainer.state() == expected.state(), f"interrupted at {at} of {count}"
        assert Adopted(1) in trainer.sent


@pytest.mark.usefixtures("twice")
def test_an_adoption_that_is_interrupted_twice_is_finished_in_the_next_step(make: Callable[..., Trainer]) -> None:
    count, expected = instructions(make, "attend", moved=True), make(moved=True)
    expected.step()
    for at in range(0, count, 3 * STRIDE):
        trainer = make(moved=True)
        trainer.contact.journey.steps += 1
        interrupted(trainer, trainer.contact.attend, at)
        trainer.contact.attend()
        assert trainer.state() == expected.state(), f"interrupted at {at} of {count}"


@pytest.mark.usefixtures("twice")
def test_an_adoption_that_was_interrupted_twice_is_finished_by_leaving_and_by_a_checkpoint(make: Callable[..., Trainer]) -> None:
    expected = make(moved=True)
    expected.step()
    for end in ("finish", "state_dict"):
        trainer = make(moved=True)
        trainer.contact.journey.steps += 1
        half_way(trainer)
        assert trainer.contact._adopting is not None
        getattr(trainer.contact, end)()
        assert trainer.state()[:2] == expected.state()[:2]


@pytest.mark.usefixtures("twice")
def test_an_adoption_goes_on_beside_what_was_trained_in_between(make: Callable[..., Trainer]) -> None:
    trainer = make(moved=False)
    half_way(trainer)
    with torch.no_grad():
        trainer.model.c.add_(1)
    trainer.step()
    assert trainer.model.a.tolist() == [2.25] * 5
    assert trainer.model.c.tolist() == [3.25] * 2


def test_a_snapshot_that_is_interrupted_anywhere_is_handed_over_whole_and_once_or_not_yet(make: Callable[..., Trainer]) -> None:
    count = instructions(make, "attend", moved=True)
    for at in range(0, count, STRIDE):
        trainer = make(moved=True)
        trainer.contact.journey.steps += 1
        interrupted(trainer, trainer.contact.attend, at)
        trainer.contact.attend()
        taken = [message for message in trainer.sent if isinstance(message, Taken)]
        assert [message.number for message in taken if message is taken[-1]] and len({message.number for message in taken}) == 2
        for name, tensor in trainer.model.state_dict().items():
            rest = trainer.contact._copier.residues.get(name, 0.0)
            assert torch.equal(
                trainer.contact.area.slots[taken[-1].slot][name], tensor.to(torch.int64 if name == "n" else torch.float32) + rest
            )
        assert trainer.contact._exchange.lent(taken[-1].slot) and not trainer.contact._exchange.wanted


def test_an_error_of_the_model_is_raised_as_it_is_and_adopts_nothing(make: Callable[..., Trainer]) -> None:
    trainer = make(moved=False)
    trainer.model.d = torch.ones(7)
    with pytest.raises(Exception, match="d") as caught:
        trainer.step()
    assert caught.value.__context__ is None
    assert trainer.model.a.tolist() == [1.0] * 5
