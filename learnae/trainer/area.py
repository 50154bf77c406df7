"""The shared memory as the trainer sees it: slots and pages of torch tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from learnae.link import memory
from learnae.link.callpage import CallPage
from learnae.link.contract import PAGES, SLOTS
from learnae.link.layout import Layout
from learnae.records import TensorSpec
from learnae.trainer.cpu import plainly

if TYPE_CHECKING:
    from learnae.records import Array


class Area:
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
