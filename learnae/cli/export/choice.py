"""Which model `learnae export` takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from learnae.cli.export.model import Model, exists_already, write
from learnae.cli.homes.find import find_home
from learnae.cli.homes.state import HomeState, read_home
from learnae.cli.homes.subjects import find_subject
from learnae.cli.units import of_bytes
from learnae.errors import ConfigError, NeedsTorch, Problem
from learnae.identity.home_folder import open_home
from learnae.node.history import Published
from learnae.opening import look
from learnae.records import Cid

BETWEEN_CHECKPOINTS = 120.0  # seconds; a checkpoint that is older than the newest update by more is of an earlier run
TRIES = 10


@attrs.frozen
class ExportArguments:
    """The command line of `learnae export`."""

    home: str | None
    root: str | None
    out: Path
    published: bool = attrs.field(default=False, kw_only=True)
    force: bool = attrs.field(default=False, kw_only=True)
    debug: bool = attrs.field(default=False, kw_only=True)


def export_model(arguments: ExportArguments) -> Iterator[str]:
    """What was written. Raises ConfigError where nothing can be, or a file is there."""
    if os.path.exists(arguments.out) and not arguments.force:
        raise exists_already(arguments.out)
    home = find_home(arguments.home)
    with open_home(home), read_home(home) as seen:  # its owner's alone, unlike what is only shown
        model = _find(seen, arguments)
    write(model, arguments.out, force=arguments.force)
    yield f"{arguments.out}: {model.tensors} tensors, {of_bytes(arguments.out.stat().st_size)}, {model.source}"


def _find(seen: HomeState, arguments: ExportArguments) -> Model:
    if arguments.root is not None:
        return _stored(seen, arguments, _root(seen, arguments.root))
    newest = _newest(seen)
    if not arguments.published and _has_checkpoint(seen, newest):
        from learnae.cli.export.from_checkpoint import model_in_checkpoint

        try:
            return model_in_checkpoint(seen)
        except NeedsTorch:
            if newest is None:
                raise
    if newest is None:
        raise ConfigError(Problem(str(seen.home), "this peer has neither a checkpoint nor a published model", "let it run for a round"))
    return _newest_stored(seen, arguments)


def _newest_stored(seen: HomeState, arguments: ExportArguments) -> Model:
    """A peer that runs drops an update as soon as it has published a few more: what was the newest may be gone when it is looked for."""
    for _ in range(TRIES):
        if (newest := _newest(seen)) is None:
            break
        try:
            return _stored(seen, arguments, newest.root)
        except ConfigError:
            if newest in seen.history.published():
                raise
    raise ConfigError(Problem(str(seen.home), f"what was newest was gone {TRIES} times before it was read", "try again"))


def _newest(seen: HomeState) -> Published | None:
    return next(iter(seen.history.published()), None)


def _stored(seen: HomeState, arguments: ExportArguments, root: Cid) -> Model:
    from learnae.cli.export.from_storage import model_in_storage

    return model_in_storage(seen, arguments.home, root, debug=arguments.debug)


def _root(seen: HomeState, text: str) -> Cid:
    """A whole root may also be one of which this home knows nothing."""
    if len(text) == 59:
        return Cid(text)
    root = find_subject(text, seen.history).root
    if root is None:
        raise ConfigError(Problem("ROOT", f"{text} is the key of a peer, not a root", "`learnae why --json` names the roots"))
    return root


def _has_checkpoint(seen: HomeState, newest: Published | None) -> bool:
    file = look(seen.home / "checkpoint" / "checkpoint.pt")
    return file is not None and (newest is None or newest.at - file.st_mtime < BETWEEN_CHECKPOINTS)
