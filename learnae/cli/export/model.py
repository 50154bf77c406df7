"""A model that can be exported, and the file that it becomes: whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import attrs
from safetensors import SafetensorError

from learnae.errors import ConfigError, Problem


@attrs.frozen
class Model:
    """What can be written: `save` does so, to a file that is there and empty."""

    source: str
    tensors: int
    save: Callable[[Path], None]


def write(model: Model, out: Path, *, force: bool) -> None:
    """Under another name first, which then becomes the right one, unless somebody else was faster."""
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        draft.touch(exist_ok=False)
        model.save(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        if force:
            draft.replace(out)
        else:
            os.link(draft, out)
    except FileExistsError:
        raise exists_already(out) from None
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(Problem("--out", f"{out} cannot be written: {reason}", "name a file in a folder with room")) from error
    finally:
        draft.unlink(missing_ok=True)


def exists_already(out: Path) -> ConfigError:
    """For a file that is kept."""
    return ConfigError(Problem("--out", f"{out} is there already", "name another file, or write over it with --force"))
