"""`swarm.merged()`: the last merged model stands in the place of the trained one for a while, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import pytest
import torch
from torch import nn

from learnae.link.messages import MergeResult, Release, Report, Want
from learnae.trainer.swarm import Swarm
from tests.trainer.conftest import Watch
from tests.trainer.interrupting import FIRST, STRIDE, Interrupts, Trainer
from tests.trainer.scripted_node import report

MakeSwarm = Callable[..., Swarm]


def values(model: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in model.state_dict().values()]


def same(ones: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


def merge_once(swarm: Swarm, watch: Watch) -> None:
    """Hand a snapshot over and adopt what comes of it."""
    adoptions = swarm.status.adoptions
    while swarm.status.adoptions == adoptions:
        watch.want(swarm)
        swarm.flush(30)


def train_on(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


@pytest.fixture
def trained_on(make_swarm: MakeSwarm, zeros: nn.Module, watch: Watch) -> tuple[Swarm, list[torch.Tensor], list[torch.Tensor]]:
    """A swarm that has merged once; what the model was then, and what it was trained to since."""
    swarm = make_swarm(zeros)
    merge_once(swarm, watch)
    merged = values(zeros)
    train_on(zeros, 1 / 3)
    return swarm, merged, values(zeros)


def test_inside_the_model_is_what_was_merged_last_and_afterwards_what_it_was_trained_to(trained_on, zeros: nn.Module) -> None:
    swarm, merged, trained = trained_on
    with swarm.merged() as lent:
        assert lent and same(values(zeros), merged) and not same(merged, trained)
    assert same(values(zeros), trained)


def test_before_anything_was_merged_the_model_stays_as_it_is(make_swarm: MakeSwarm, zeros: nn.Module) -> None:
    swarm = make_swarm(zeros)
    train_on(zeros, 0.5)
    before = values(zeros)
    with swarm.merged() as lent:
        assert not lent and same(values(zeros), before)
    assert same(values(zeros), before)


def test_what_is_raised_inside_brings_the_trained_model_back(trained_on, zeros: nn.Module) -> None:
    swarm, _, trained = trained_on
    with pytest.raises(KeyboardInterrupt), swarm.merged():
        raise KeyboardInterrupt
    assert same(values(zeros), trained)


CALLS: dict[str, Callable[[Swarm], object]] = {
    "step": lambda swarm: swarm.step(),
    "flush": lambda swarm: swarm.flush(),
    "state_dict": lambda swarm: swarm.state_dict(),
    "merged": lambda swarm: swarm.merged().__enter__(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_inside_nothing_is_counted_adopted_or_saved(trained_on, zeros: nn.Module, call: Callable[[Swarm], object]) -> None:
    swarm, _, trained = trained_on
    steps = swarm.status.steps
    with swarm.merged(), pytest.raises(RuntimeError, match="merged"):
        call(swarm)
    assert swarm.status.steps == steps
    assert same(values(zeros), trained)


def test_a_merge_that_comes_meanwhile_is_adopted_afterwards(trained_on, zeros: nn.Module, watch: Watch) -> None:
    swarm, _, _ = trained_on
    watch.want(swarm)
    swarm.step()  # hands a snapshot over
    with swarm.merged():
        watch.offer(swarm)
    adoptions = swarm.status.adoptions
    swarm.flush()
    assert swarm.status.adoptions == adoptions + 1


def test_types_of_low_precision_come_back_bit_for_bit_with_their_residues(make_swarm: MakeSwarm, watch: Watch) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(torch.bfloat16)
    swarm = make_swarm(model)
    merge_once(swarm, watch)
    train_on(model, 1 / 3)
    before, residues = values(model), swarm.state_dict()["residues"]
    with swarm.merged() as lent:
        assert lent and not same(values(model), before)
    assert same(values(model), before)
    assert all(torch.equal(residues[name], rest) for name, rest in swarm.state_dict()["residues"].items())


def test_after_leaving_the_last_merged_model_is_still_lent(trained_on, zeros: nn.Module) -> None:
    swarm, merged, trained = trained_on
    swarm.leave()
    with swarm.merged() as lent:
        assert lent and same(values(zeros), merged)
    assert same(values(zeros), trained)


def test_leaving_inside_leaves_the_trained_model(trained_on, zeros: nn.Module) -> None:
    swarm, _, trained = trained_on
    with swarm.merged():
        swarm.leave()
    assert same(values(zeros), trained)


def test_the_tensors_beside_a_state_are_those_that_differ_under_its_own_names(trained_on, zeros: nn.Module) -> None:
    swarm, merged, _ = trained_on
    wrapped = nn.ModuleDict({"inner": zeros})
    found = swarm.merged_tensors(wrapped.state_dict())
    assert found is not None and set(found) == {"inner.weight", "inner.bias"}
    assert same([found["inner.weight"], found["inner.bias"]], merged)


def test_without_training_since_no_tensor_differs(make_swarm: MakeSwarm, zeros: nn.Module, watch: Watch) -> None:
    swarm = make_swarm(zeros)
    assert swarm.merged_tensors(zeros.state_dict()) is None
    merge_once(swarm, watch)
    assert swarm.merged_tensors(zeros.state_dict()) == {}


@pytest.fixture
def adopted() -> Iterator[Callable[[], Trainer]]:
    """Trainers that have merged once, and have trained on since."""
    made: list[Trainer] = []

    def make() -> Trainer:
        made.append(trainer := Trainer(moved=False))
        trainer.step()
        with torch.no_grad():
            for tensor in (*trainer.model.parameters(), *trainer.model.buffers()):
                tensor.mul_(3)
        return trainer

    yield make
    for one in made:
        one.session.shared_memory.close()


@pytest.mark.parametrize("outcome", ["alone", "founded"])
def test_after_a_round_that_merged_nothing_the_trained_model_is_the_one(adopted: Callable[[], Trainer], outcome: str) -> None:
    trainer = adopted()
    trainer.session.hear(Report(attrs.evolve(report(1), outcome="merged")))
    with trainer.session.merged() as lent:
        assert lent
    trainer.session.hear(Report(attrs.evolve(report(2), outcome=outcome, merged=0)))
    with trainer.session.merged() as lent:
        assert not lent


def test_a_node_that_starts_anew_may_write_to_what_was_merged_before(adopted: Callable[[], Trainer]) -> None:
    trainer = adopted()
    trainer.session.begin(trainer.sent.append)
    with trainer.session.merged() as lent:
        assert not lent


def test_lending_does_not_count_as_training(adopted: Callable[[], Trainer]) -> None:
    """What has not moved since its snapshot is assigned: 3 and the difference of 0.1 and 3 are not 0.1 in float32."""
    trainer = adopted()
    for message in (Release(0), Want()):
        trainer.session.hear(message)
    trainer.step()  # hands the next snapshot over
    for page in trainer.session.shared_memory.pages[1].values():
        page.fill_(0.1)
    with trainer.session.merged() as lent:
        assert lent
        trainer.session.hear(MergeResult(trainer.start.hello.session, 2, 1, 0, b"lineage8", 100, "merged"))
    trainer.session.hear(Want())
    trainer.session.attend()
    assert torch.equal(trainer.model.a.detach(), torch.full((3,), 0.1))


@pytest.mark.parametrize("first", FIRST)
def test_an_interrupt_anywhere_brings_the_trained_model_back(adopted: Callable[[], Trainer], first: int) -> None:
    def lend(trainer: Trainer) -> None:
        with trainer.session.merged():
            pass

    trainer = adopted()
    with Interrupts() as counted:
        lend(trainer)
    expected = adopted().state()
    assert counted.seen > 300
    for at in range(first, counted.seen, STRIDE):
        trainer = adopted()
        with pytest.raises(KeyboardInterrupt), Interrupts(at):
            lend(trainer)
        trainer.session.finish()
        assert trainer.state() == expected, f"interrupted at {at} of {counted.seen}"
        assert not trainer.session.lent
