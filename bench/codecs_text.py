"""Text for `codecs.py`: a small transformer that predicts the next byte of the source of Python's own library."""

from __future__ import annotations

import argparse as first_module
import ast
import copy
import typing
from pathlib import Path
from typing import Any

import numpy as np
import trio

from learnae.node.tensors import encode_raw, travels_raw
from learnae.plugins.patch import Patch, PatchOptions
from learnae.records import TensorSpec
from learnae.testing.swarm import SimulatedSwarm, run_in_virtual_time

CONTEXT, BATCH, PEERS = 64, 16, 4


def corpus() -> Any:
    import torch

    text = b"".join(Path(str(module.__file__)).read_bytes() for module in (first_module, ast, typing))
    return torch.frombuffer(bytearray(byte & 127 for byte in text), dtype=torch.uint8).long()


def make_model(small: bool) -> Any:
    import torch
    from torch import nn

    class Transformer(nn.Module):
        def __init__(self, width: int, layers: int) -> None:
            super().__init__()
            self.token, self.place = nn.Embedding(128, width), nn.Embedding(CONTEXT, width)
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(width, width // 32, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
                for _ in range(layers)
            )
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 128)
            self.register_buffer("causal", torch.triu(torch.full((CONTEXT, CONTEXT), -1e9), 1), persistent=False)

        def forward(self, tokens: Any) -> Any:
            values = self.token(tokens) + self.place.weight
            for layer in self.layers:
                values = layer(values, src_mask=self.causal.to(values.dtype))
            return self.head(self.norm(values))

    torch.manual_seed(0)
    return Transformer(32, 1) if small else Transformer(64, 2)


def loss_of(model: Any, text: Any, rng: np.random.Generator, batch: int = BATCH) -> Any:
    import torch

    starts = rng.integers(0, len(text) - CONTEXT - 1, batch)
    rows = torch.stack([text[start : start + CONTEXT + 1] for start in starts])
    scores = model(rows[:, :-1])
    return torch.nn.functional.cross_entropy(scores.reshape(-1, 128).float(), rows[:, 1:].reshape(-1))


class TextTrainer:
    """Trains on its own part of the text. The node's tensors are copied into the model and back: it is a simulation."""

    def __init__(self, text: Any, seed: int, steps: int, small: bool, rate: float = 1e-3) -> None:
        import torch

        self.model, self.text, self.steps, self.rng = make_model(small), text, steps, np.random.default_rng(seed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), rate)

    def tensors(self) -> dict[str, Any]:
        return {name: tensor.detach().numpy().copy() for name, tensor in self.model.named_parameters()}

    def load(self, tensors: dict[str, Any]) -> None:
        import torch

        with torch.no_grad():
            for name, tensor in self.model.named_parameters():
                tensor.copy_(torch.from_numpy(tensors[name]))

    def train(self, tensors: dict[str, Any]) -> int:
        self.load(tensors)
        for _ in range(self.steps):
            self.optimizer.zero_grad()
            loss_of(self.model, self.text, self.rng).backward()
            self.optimizer.step()
        tensors.update(self.tensors())
        return self.steps


def train_text(codec: str, steps: int, rounds: int, *, small: bool) -> tuple[float, float]:
    """The loss of the first peer after its last merge, on text that nobody trained on, and bytes published a value and inner step."""
    return run_in_virtual_time(_train_text, codec, steps, rounds, small)


async def _train_text(codec: str, steps: int, rounds: int, small: bool) -> tuple[float, float]:
    import torch

    text = corpus()
    held_out, rest = text[-20_000:], text[:-20_000]
    settings = {"codec": {"use": codec}, "join": {"wait_seconds": 0.0}, "selector": {"count": PEERS - 1}}
    async with SimulatedSwarm(settings=settings) as swarm:
        parts = torch.chunk(rest, PEERS)
        trainers = [TextTrainer(part, seed, steps, small) for seed, part in enumerate(parts)]
        peers = [swarm.peer(f"peer-{seed}", one.tensors(), one.train) for seed, one in enumerate(trainers)]
        for peer in peers:
            peer.trainer.progress = type(peer.trainer.progress)(0, b"lineage1", 0, 0, 0, 0.0)
            peer.start()
        await trio.sleep(rounds + 0.99)
        trainers[0].load(peers[0].trainer.model)
        with torch.no_grad():
            loss = float(loss_of(trainers[0].model, held_out, np.random.default_rng(9), 256))
        reports = [report for peer in peers for report in peer.trainer.reports if report.published]
        parameters = sum(tensor.numel() for tensor in trainers[0].model.parameters())
        return loss, sum(report.published_bytes for report in reports) / len(reports) / parameters / steps


def learned(*, small: bool) -> Any:
    """A model that has learned something already, in float32."""
    trained = TextTrainer(corpus(), 0, 5 if small else 400, small)
    trained.train(trained.tensors())
    return trained.model


def fine_tune(model: Any, rate: float, versions: int) -> list[str]:
    """A row: what `patch` takes of a copy of this model that is trained on, by AdamW, all in bfloat16."""
    import torch

    text, rng, model = corpus(), np.random.default_rng(0), copy.deepcopy(model).bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.0)
    codec, copies = Patch(PatchOptions(), None), dict[str, Any]()  # type: ignore[arg-type]  # it asks for nothing
    sizes, whole, changed, same = list[int](), 0, list[float](), True
    for version in range(versions):
        for _ in range(0 if not version else 20):
            optimizer.zero_grad()
            loss_of(model, text, rng).backward()
            optimizer.step()
        size, moved = 0, 0
        for name, tensor in model.named_parameters():
            values, spec = tensor.detach().float().numpy(), TensorSpec(name=name, dtype="bfloat16", shape=tuple(tensor.shape))
            if travels_raw(spec, codec.small, lossless=codec.lossless):
                size += len(encode_raw(spec, values).data)
                continue
            encoded = codec.encode(name, values, copies.get(name), rng)
            moved += int(encoded.meta.get("changed", spec.count))
            copies[name] = codec.decode(encoded, spec, copies.get(name)).array
            same = same and np.array_equal(copies[name].view(np.uint32), values.view(np.uint32))
            size += len(encoded.data)
        if version:
            sizes.append(size)
            changed.append(moved / sum(tensor.numel() for tensor in model.parameters()))
        else:
            whole = size
    parameters = sum(tensor.numel() for tensor in model.parameters())
    patch, every = sum(sizes) / len(sizes), (whole + sum(sizes)) / (1 + len(sizes))
    smaller = [f"{2 * parameters / one:.0f} times" for one in (patch, every)]
    return [f"{rate:g}", f"{100 * sum(changed) / len(changed):.2f}", f"{patch / parameters:.4f}", *smaller, "yes" if same else "no"]
