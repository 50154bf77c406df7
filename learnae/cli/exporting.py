"""Which model is exported, and the file that it becomes: whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
from safetensors import SafetensorError

from learnae.cli.places import find_home
from learnae.cli.portrait import Portrait, portrait
from learnae.cli.subjects import find_subject
from learnae.cli.units import of_bytes
from learnae.errors import ConfigError, NeedsTorch, Problem
from learnae.node.history import Published
from learnae.records import Cid

BETWEEN_CHECKPOINTS = 120.0  # seconds; a checkpoint that is older than the newest update by more is of an earlier run

TRIES = 10


@attrs.frozen
class Wanted:
    """The command line of `learnae export`."""

    home: str | None
    root: str | None
    out: Path
    published: bool = attrs.field(default=False, kw_only=True)
    force: bool = attrs.field(default=False, kw_only=True)
    debug: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Model:
    """What can be written: `save` does so, to a file that is not there yet."""

    source: str
    tensors: int
    save: Callable[[Path], None]


def export_model(wanted: Wanted) -> Iterator[str]:
    """What was written. Raises ConfigError where nothing can be, or a file is there."""
    if wanted.out.exists() and not wanted.force:
        raise _exists(wanted.out)
    home = find_home(wanted.home)
    with portrait(home) as seen:
        model = _find(seen, wanted)
    _write(model, wanted.out, force=wanted.force)
    yield f"{wanted.out}: {model.tensors} tensors, {of_bytes(wanted.out.stat().st_size)}, {model.source}"


def _find(seen: Portrait, wanted: Wanted) -> Model:
    if wanted.root is not None:
        return _stored(seen, wanted, _root(seen, wanted.root))
    newest = _newest(seen)
    if not wanted.published and _has_checkpoint(seen, newest):
        from learnae.cli.checkpointed import checkpointed

        try:
            return checkpointed(seen)
        except NeedsTorch:
            if newest is None:
                raise
    if newest is None:
        raise ConfigError(Problem(str(seen.home), "this peer has neither a checkpoint nor a published model", "let it run for a round"))
    return _newest_stored(seen, wanted)


def _newest_stored(seen: Portrait, wanted: Wanted) -> Model:
    """A peer that runs drops an update as soon as it has published a few more: what was the newest may be gone when it is looked for."""
    for _ in range(TRIES):
        if (newest := _newest(seen)) is None:
            break
        try:
            return _stored(seen, wanted, newest.root)
        except ConfigError:
            if newest in seen.history.published():
                raise
    raise ConfigError(Problem(str(seen.home), f"what was newest was gone {TRIES} times before it was read", "try again"))


def _newest(seen: Portrait) -> Published | None:
    return next(iter(seen.history.published()), None)


def _stored(seen: Portrait, wanted: Wanted, root: Cid) -> Model:
    from learnae.cli.stored import stored

    file = Path(wanted.home) if wanted.home is not None and Path(wanted.home).is_file() else None
    return stored(seen, file, root, debug=wanted.debug)


def _root(seen: Portrait, text: str) -> Cid:
    """A whole root may also be one of which this home knows nothing."""
    if len(text) == 59:
        return Cid(text)
    root = find_subject(text, seen.history).root
    if root is None:
        raise ConfigError(Problem("ROOT", f"{text} is the key of a peer, not a root", "`learnae why` names the roots"))
    return root


def _has_checkpoint(seen: Portrait, newest: Published | None) -> bool:
    file = seen.home / "checkpoint" / "checkpoint.pt"
    return file.exists() and (newest is None or newest.at - file.stat().st_mtime < BETWEEN_CHECKPOINTS)


def _write(model: Model, out: Path, *, force: bool) -> None:
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
        raise _exists(out) from None
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(Problem("--out", f"{out} cannot be written: {reason}", "name a file in a folder with room")) from error
    finally:
        draft.unlink(missing_ok=True)


def _exists(out: Path) -> ConfigError:
    return ConfigError(Problem("--out", f"{out} is there already", "name another file, or write over it with --force"))
