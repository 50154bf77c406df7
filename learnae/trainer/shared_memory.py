"""The memory that the trainer shares with its node, as torch tensors; and plain tensors on the CPU, whatever the user's defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from learnae.link import memory
from learnae.link.memory import CallPage, Layout
from learnae.link.messages import PAGES, SLOTS
from learnae.records import TensorSpec

if TYPE_CHECKING:
    from learnae.records import Array


CPU = torch.device("cpu")


@contextmanager
def plainly() -> Iterator[None]:
    """Without autograd, and out of inference mode: a tensor that is made in there may not be written to from outside."""
    enabled = torch.is_grad_enabled()
    with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
        try:
            torch.set_grad_enabled(False)
            yield
        finally:
            torch.set_grad_enabled(enabled)


def zeros(shape: Sequence[int], dtype: torch.dtype, *, pinned: bool = False) -> Tensor:
    """On the CPU, also inside of `torch.device(...)`; `pinned` where a GPU shall read it fast."""
    with plainly():
        return torch.zeros(tuple(shape), dtype=dtype, device=CPU, pin_memory=pinned)


class SharedMemory:
    """Owns the descriptor that nodes inherit. Raises ConfigError if there is no room."""

    def __init__(self, specs: Sequence[TensorSpec], *, pinned: bool = False) -> None:
        layout = Layout.of(specs)
        self.fd = memory.create(layout.total_bytes)
        self._memory = memory.view(self.fd, layout.total_bytes)
        with plainly():
            self.slots = [_tensors(layout.slot(self._memory, index, writable=True)) for index in range(SLOTS)]
            self.pages = [_tensors(layout.page(self._memory, index, writable=True)) for index in range(PAGES)]
            self._whole = torch.frombuffer(self._memory, dtype=torch.uint8)
        self.calls = CallPage(layout.calls(self._memory))
        self._pinned = pinned and _register(self._whole)

    def close(self) -> None:
        """Give the descriptor back; the memory goes when the last view of it has gone. Idempotent."""
        if self._pinned:
            _runtime().cudaHostUnregister(self._whole.data_ptr())
        self._pinned = False
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _register(whole: Tensor) -> bool:
    """Lock the pages for the GPU, which doubles the speed of copies; they are right without it."""
    result = _runtime().cudaHostRegister(whole.data_ptr(), whole.numel(), 0)
    return int(result) == 0


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
