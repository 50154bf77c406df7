"""The tensors of a state_dict as a safetensors file, for programs that know nothing of Learnae."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch


def tensors_of(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Those of its entries that are tensors, each with memory of its own: tied ones are written twice."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items() if isinstance(value, torch.Tensor)}


def save_file(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Bit for bit. Raises OSError."""
    safetensors.torch.save_file(dict(tensors), path, metadata=dict(metadata))
