"""A signal's handler may come between any two instructions, to raise or to save: nothing is adopted in part, nor handed over so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch

from learnae.link.messages import Adopted, Taken
from learnae.trainer import copying, interrupts, session
from tests.trainer.interrupting import FIRST, STRIDE, Interrupts, Trainer, make_model


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "CHUNK", 2)


@pytest.fixture
def make() -> Iterator[Callable[..., Trainer]]:
    made: list[Trainer] = []

    def trainer(**how: bool) -> Trainer:
        made.append(Trainer(**how))
        return made[-1]

    yield trainer
    for one in made:
        one.session.shared_memory.close()


def instructions(make: Callable[..., Trainer], act: str, **how: bool) -> int:
    trainer = make(**how)
    with Interrupts() as counted:
        getattr(trainer.session, act)()
    return counted.seen


def interrupted(trainer: Trainer, act: Callable[[], None], at: int) -> bool:
    try:
        with Interrupts(at):
            act()
    except KeyboardInterrupt:
        return True
    return False


def second_attempts(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """What an interrupt cut short is interrupted again, before that instruction of the second attempt."""

    def to_the_end(work: Callable[[], None]) -> None:
        attempts = iter([work, partial(_under, Interrupts(at), work)])
        interrupts.to_the_end(lambda: next(attempts)())

    monkeypatch.setattr(session, "to_the_end", to_the_end)


def _under(interruption: Interrupts, work: Callable[[], None]) -> None:
    with interruption:
        work()


def half_way(trainer: Trainer) -> None:
    """Interrupt it twice where `a` is adopted and `n` is not."""
    written = trainer.model.a.numel() // copying.CHUNK + 1

    def as_one(*calls: Callable[[], object]) -> None:
        nonlocal written
        written -= 1
        if written < 0:
            raise KeyboardInterrupt
        at_once(*calls)

    at_once, copying._as_one = copying._as_one, as_one
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.session.attend()
    finally:
        copying._as_one = at_once
    assert trainer.session._adopting is not None
    assert trainer.model.n.tolist() in ([1, 1, 1], [2, 2, 2])


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("first", FIRST)
def test_an_adoption_that_is_interrupted_anywhere_is_made_once_and_whole(make: Callable[..., Trainer], moved: bool, first: int) -> None:
    count, expected = instructions(make, "attend", moved=moved), make(moved=moved)
    expected.step()
    untouched = {name: tensor.tolist() for name, tensor in make_model().state_dict().items()}
    assert expected.session.adoption == 1 and count > 500
    for at in range(first, count, STRIDE):
        trainer = make(moved=moved)
        trainer.session.model_progress.steps += 1
        assert interrupted(trainer, trainer.session.attend, at)
        half = {name: tensor.tolist() for name, tensor in trainer.model.state_dict().items()}
        begun = {name: value for name, value in half.items() if value != untouched[name]}
        if not moved:
            assert not begun or half == expected.state()[0], f"at {at} the interrupt came through with the model adopted in part"
        trainer.session.attend()
        assert trainer.state() == expected.state(), f"interrupted at {at} of {count}"
        assert Adopted(1) in trainer.sent


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("call", ["state_dict", "finish"])
def test_a_handler_that_saves_or_leaves_anywhere_within_an_adoption_finds_and_leaves_it_made_once(
    make: Callable[..., Trainer], call: str, first: int
) -> None:
    count, expected = instructions(make, "attend", moved=True), make(moved=True)
    expected.step()
    names, untouched = list(make_model().state_dict()), make(moved=True).state()[:2]
    for at in range(first, count, STRIDE):
        trainer, found = make(moved=True), list[Any]()
        trainer.session.model_progress.steps += 1

        def handler(trainer: Trainer = trainer, found: list[Any] = found) -> None:
            getattr(trainer.session, call)()
            found.append(trainer.state()[:2])

        with Interrupts(at, handler):
            trainer.session.attend()
        assert found[0] in (untouched, expected.state()[:2]), f"at {at} a checkpoint of {names} has the adoption in part"
        assert trainer.state() == expected.state(), f"a handler came at {at} of {count}"


@pytest.mark.parametrize("call", ["attend", "flush"])
def test_a_handler_cannot_step_within_a_step(make: Callable[..., Trainer], call: str) -> None:
    count, expected = instructions(make, "attend", moved=True), make(moved=True)
    expected.step()
    refused = 0
    for at in range(60, count - 60, 5 * STRIDE):
        trainer = make(moved=True)
        trainer.session.model_progress.steps += 1

        def handler(trainer: Trainer = trainer) -> None:
            nonlocal refused
            with pytest.raises(RuntimeError, match="signal's handler"):
                getattr(trainer.session, call)(*[0.0] * (call == "flush"))
            refused += 1

        with Interrupts(at, handler):
            trainer.session.attend()
        assert trainer.state() == expected.state()
    assert refused > 5


@pytest.mark.parametrize("first", FIRST)
def test_an_adoption_that_is_interrupted_twice_is_finished_in_the_next_step(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    count, expected = instructions(make, "attend", moved=True), make(moved=True)
    expected.step()
    for at in range(first, count, 3 * STRIDE):
        trainer = make(moved=True)
        trainer.session.model_progress.steps += 1
        with monkeypatch.context() as patch:
            second_attempts(patch, at * 7 % count)
            interrupted(trainer, trainer.session.attend, at)
        trainer.session.attend()
        assert trainer.state() == expected.state(), f"interrupted at {at} and {at * 7 % count} of {count}"
        assert Adopted(1) in trainer.sent


@pytest.mark.parametrize("end", ["finish", "state_dict"])
def test_an_adoption_that_was_interrupted_twice_is_finished_by_leaving_and_by_a_checkpoint(make: Callable[..., Trainer], end: str) -> None:
    expected, trainer = make(moved=True), make(moved=True)
    expected.step()
    trainer.session.model_progress.steps += 1
    half_way(trainer)
    getattr(trainer.session, end)()
    assert trainer.state()[:2] == expected.state()[:2]


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_an_adoption_goes_on_beside_what_was_trained_in_between(make: Callable[..., Trainer], moved: bool, counted: bool) -> None:
    trainer = make(moved=moved)
    half_way(trainer)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(8)
    trainer.step() if counted else trainer.session.finish()
    assert [parameter.tolist() for parameter in trainer.model.parameters()] == [[10.25 + moved] * length for length in (3, 3, 2)]


@pytest.mark.parametrize("first", FIRST)
def test_a_snapshot_that_is_interrupted_anywhere_is_handed_over_whole_and_once_or_not_yet(make: Callable[..., Trainer], first: int) -> None:
    count = instructions(make, "attend", moved=True)
    for at in range(first, count, STRIDE):
        trainer = make(moved=True)
        trainer.session.model_progress.steps += 1
        interrupted(trainer, trainer.session.attend, at)
        trainer.session.attend()
        taken: Sequence[Taken] = [message for message in trainer.sent if isinstance(message, Taken)]
        assert {(message.slot, message.number) for message in taken} == {(0, 1), (1, 2)} and taken[0].number == 1
        for name, tensor in trainer.model.state_dict().items():
            rest = trainer.session._copier.residues.get(name, 0.0)
            assert torch.equal(
                trainer.session.shared_memory.slots[1][name], tensor.to(torch.int64 if name == "n" else torch.float32) + rest
            )
        assert trainer.session._session_state.lent(1) and not trainer.session._session_state.wanted


def test_an_error_of_the_model_is_raised_as_it_is_and_adopts_nothing(make: Callable[..., Trainer]) -> None:
    trainer = make(moved=False)
    trainer.model.d = torch.ones(7)
    with pytest.raises(Exception, match="d") as caught:
        trainer.step()
    assert caught.value.__context__ is None
    assert trainer.model.a.tolist() == [1.0] * 3
