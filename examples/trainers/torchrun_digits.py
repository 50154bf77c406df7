"""A job of torchrun in a swarm: its processes, on one GPU or one core each, are one peer. The lines of Learnae are marked."""

from pathlib import Path

import torch
from digits import accuracy, arguments, load, make_model
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import learnae  # 1

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def main(chosen):
    distributed.init_process_group("gloo")  # "nccl" on GPUs
    first = distributed.get_rank() == 0
    rows, test = load(chosen.classes)
    model = sharded(make_model()) if chosen.fsdp else DistributedDataParallel(make_model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    resume, overrides = loaded(model, chosen), ["train.local_steps=10"]
    swarm = learnae.join(  # 2: all processes have to call it
        model, "torchrun-digits", optimizer=optimizer, home=chosen.home, overrides=overrides, resume=resume, auto=True
    )
    if first and resume:
        print(f"going on from step {swarm.status.steps}", flush=True)
    sampler = DistributedSampler(rows)
    while swarm.status.steps < chosen.steps:
        for images, labels in DataLoader(rows, batch_size=16, sampler=sampler):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        sampler.set_epoch(sampler.epoch + 1)
        if chosen.checkpoint:
            save(model, swarm, chosen.checkpoint, first=first)
    swarm.flush(timeout=5)
    with swarm.merged():  # 3: so must this
        reached = accuracy(model, test)
    if first:
        print(f"accuracy on all ten digits: {reached:.3f}, after {swarm.status.merged} merged updates")
    swarm.leave()
    distributed.destroy_process_group()


def sharded(model):
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    return fully_shard(model)


def save(model, swarm, file, *, first):
    state = {"model": get_model_state_dict(model, options=WHOLE), "swarm": swarm.state_dict()}
    if first:
        torch.save(state, file.with_suffix(".new"))
        file.with_suffix(".new").rename(file)


def loaded(model, chosen):
    """What the swarm goes on from, if there is a checkpoint."""
    if not chosen.checkpoint or not chosen.checkpoint.exists():
        return None
    state = torch.load(chosen.checkpoint)
    set_model_state_dict(model, state["model"], options=WHOLE)
    return state["swarm"]


if __name__ == "__main__":
    main(
        arguments(
            __doc__,
            steps=3000,
            more={
                "--fsdp": {"action": "store_true", "help": "shard the model over the processes, instead of a replica in each"},
                "--home": {"type": Path, "help": "the folder of this peer"},
                "--checkpoint": {"type": Path, "help": "save to this file, and go on from it"},
            },
        )
    )
