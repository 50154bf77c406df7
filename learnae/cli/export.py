"""`learnae export`: a peer's model as a safetensors file, from its checkpoint or from what it published."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
import safetensors.numpy
import trio
from safetensors import SafetensorError

from learnae.cli import options
from learnae.cli.check import make_strategies
from learnae.cli.home_state import HomeState, find_subject, read_home
from learnae.cli.homes import find_home, settings_of
from learnae.cli.options import of_bytes
from learnae.config.tables import LARGEST_BYTES
from learnae.errors import ConfigError, NeedsTorchError, Problem, UnavailableError, UpdateRejectedError
from learnae.identity.home_folder import open_home
from learnae.logs import make_logger
from learnae.node.bases import HeldUpdates, fetch_needed
from learnae.node.decoding import Decoder
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.history import PublishedUpdate
from learnae.node.runtime import Outages
from learnae.node.services import Services
from learnae.node.strategy_set import StrategySet
from learnae.opening import look
from learnae.outlets import print_result
from learnae.records import NOBODY, Cid, TensorSpec

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config
    from learnae.node.history_reader import Sighting
    from learnae.records import Array
    from learnae.trainer.checkpoint_reader import ReadModel


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
    except (ValueError, RuntimeError, TypeError, KeyError) as error:  # of what a checkpoint holds: numbers or names that no such file can
        message = f"{out} cannot be written: {type(error).__name__}: {error}"
        raise ConfigError(Problem("--out", message, "export what was published, with --published")) from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(Problem("--out", f"{out} cannot be written: {reason}", "name a file in a folder with room")) from error
    finally:
        draft.unlink(missing_ok=True)


def exists_already(out: Path) -> ConfigError:
    """For a file that is kept."""
    return ConfigError(Problem("--out", f"{out} is there already", "name another file, or write over it with --force"))


def model_in_checkpoint(seen: HomeState, *, trained: bool) -> Model:
    """Raises NeedsTorchError, ConfigError."""
    try:
        from learnae.trainer.checkpoint import newest_model, save_file
    except ImportError as error:
        raise NeedsTorchError("learnae export") from error
    folder = seen.home / "checkpoint"
    model = newest_model(folder, make_logger(), trained=trained)
    if model is None:
        raise ConfigError(Problem(str(folder), "has no checkpoint any more", "try again"))
    save = functools.partial(save_file, model.tensors, metadata=_metadata_of_checkpoint(seen, model))
    how = "merged last" if model.merged else "trained"
    return Model(f"from the checkpoint at age {model.age or 0:,}, as it was {how}", len(model.tensors), save)


def _metadata_of_checkpoint(seen: HomeState, model: ReadModel) -> dict[str, str]:
    known = {
        "swarm": seen.swarm.name if seen.swarm else "",
        "peer": seen.own or "",
        "lineage": model.lineage,
        "age": "" if model.age is None else str(model.age),
    }
    return {"format": "pt", **{f"learnae.{name}": value for name, value in known.items() if value}}


SECONDS = 120.0


def model_in_storage(seen: HomeState, named: str | None, root: Cid, *, debug: bool) -> Model:
    """The shared tensors of one update, in the dtypes of the model as far as numpy has them. Raises ConfigError, PluginError."""
    log = make_logger("debug" if debug else "error")
    config, manager = settings_of(seen.home, named, ("storage", "codec"), log)
    try:
        decoder = trio.run(_obtain, make_strategies(config, manager, seen.home), _limit(seen, config, root), root, log)
    except (UnavailableError, UpdateRejectedError) as error:
        remedy = "see that its storage can be reached; only the newest few updates of a peer are kept"
        raise ConfigError(Problem("ROOT", f"{root} cannot be had: {error}", remedy)) from error
    meta = decoder.content.meta
    source = f"from update {meta.number:,} of peer {meta.peer[:8]}, encoded by {meta.codec}"
    return Model(source, len(decoder.specs), functools.partial(_save, decoder, metadata=_metadata_of_update(seen, config, decoder, root)))


def _limit(seen: HomeState, config: Config, root: Cid) -> int:
    """An own update may be as large as it was when it was published."""
    own = next((item.bytes for item in seen.history.published() if item.root == root), 0)
    return config.peer.max_update_bytes or max(LARGEST_BYTES, 2 * own)


async def _obtain(strategies: StrategySet, limit: int, root: Cid, log: FilteringBoundLogger) -> Decoder:
    """Raises outside of the nursery, so that an error comes as it is and not in a group."""
    services = Services(Outages(log))
    async with trio.open_nursery() as nursery:
        try:
            await services.open(strategies.storages, nursery)
            with trio.move_on_after(SECONDS):
                return await _fetch(strategies, services, root, limit, log)
            raise UnavailableError(f"not whole within {SECONDS:.0f} s")
        except (UnavailableError, UpdateRejectedError, ConfigError) as error:
            failure = error
        finally:
            services.close()
    raise failure


async def _fetch(strategies: StrategySet, services: Services, root: Cid, limit: int, log: FilteringBoundLogger) -> Decoder:
    """With what it builds on."""
    fetcher = Fetcher(strategies.storages, services, lambda peer, storage: (), log, strategies.swarm.blocks)
    transfer = Transfer(limit)
    content = await fetcher.fetch_root(root, NOBODY, transfer, lambda meta: None)
    codec, specs = strategies.codec_named(content.meta.codec), {spec.name: spec for spec in content.meta.specs}
    before = await fetch_needed(fetcher, HeldUpdates(), content.meta, codec, specs, transfer)
    decoder = Decoder(content, codec, specs, before)
    decoder.check()
    return decoder


def _save(decoder: Decoder, path: Path, metadata: Mapping[str, str]) -> None:
    tensors = {name: _cast(decoder.decode(name).array, spec) for name, spec in decoder.specs.items()}
    safetensors.numpy.save_file(tensors, path, metadata=dict(metadata))


def _cast(array: Array, spec: TensorSpec) -> Array:
    """In the dtype of the model; what numpy does not know, such as bfloat16, stays as it was decoded."""
    try:
        return array.astype(spec.dtype, order="C")
    except TypeError:
        return array


def _metadata_of_update(seen: HomeState, config: Config, decoder: Decoder, root: Cid) -> dict[str, str]:
    meta = decoder.content.meta
    notes: list[PublishedUpdate | Sighting] = [*seen.history.published(), *seen.sightings.values()]
    about = next((note for note in notes if note.root == root), None)
    known = {"lineage": about.lineage.hex() if about and about.lineage else "", "age": str(about.age) if about else ""}
    fixed = {"swarm": config.swarm.name, "peer": meta.peer, "number": str(meta.number), "root": root, "codec": meta.codec}
    return {"format": "pt", **{f"learnae.{name}": value for name, value in (fixed | known).items() if value}}


BETWEEN_CHECKPOINTS = 120.0  # seconds; a checkpoint that is older than the newest update by more is of an earlier run
TRIES = 10


@attrs.frozen
class ExportArguments:
    """The command line of `learnae export`."""

    home: str | None
    root: str | None
    out: Path
    published: bool = attrs.field(default=False, kw_only=True)
    trained: bool = attrs.field(default=False, kw_only=True)
    force: bool = attrs.field(default=False, kw_only=True)
    debug: bool = attrs.field(default=False, kw_only=True)


def export_model(arguments: ExportArguments) -> Iterator[str]:
    """What was written. Raises ConfigError where nothing can be, or a file is there."""
    if os.path.exists(arguments.out) and not arguments.force:
        raise exists_already(arguments.out)
    if os.path.exists(arguments.out) and not os.path.isfile(arguments.out):  # root would put a file in the place of a device
        raise ConfigError(Problem("--out", f"{arguments.out} is no file, and is kept", "name another one"))
    if arguments.trained and (arguments.published or arguments.root is not None):
        message = "is about the checkpoint, and --published or ROOT is about an update"
        raise ConfigError(Problem("--trained", message, "leave one of the two out"))
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
        try:
            return model_in_checkpoint(seen, trained=arguments.trained)
        except NeedsTorchError:
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


def _newest(seen: HomeState) -> PublishedUpdate | None:
    return next(iter(seen.history.published()), None)


def _stored(seen: HomeState, arguments: ExportArguments, root: Cid) -> Model:
    return model_in_storage(seen, arguments.home, root, debug=arguments.debug)


def _root(seen: HomeState, text: str) -> Cid:
    """A whole root may also be one of which this home knows nothing."""
    if len(text) == 59:
        return Cid(text)
    root = find_subject(text, seen.history).root
    if root is None:
        raise ConfigError(Problem("ROOT", f"{text} is the key of a peer, not a root", "`learnae why --json` names the roots"))
    return root


def _has_checkpoint(seen: HomeState, newest: PublishedUpdate | None) -> bool:
    file = look(seen.home / "checkpoint" / "checkpoint.pt")
    return file is not None and (newest is None or newest.at - file.st_mtime < BETWEEN_CHECKPOINTS)


@click.command()
@options.home
@click.argument("root", required=False, metavar="[ROOT]")
@click.option("-o", "--out", type=options.PathParam(dir_okay=False), required=True, help="The file to write, such as m.safetensors.")
@click.option("--published", is_flag=True, help="The newest update that was published, also where there is a checkpoint.")
@click.option("--trained", is_flag=True, help="The checkpoint as it was trained on since the last merge.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@options.debug
def export(home: str | None, root: str | None, out: Path, published: bool, trained: bool, force: bool, debug: bool) -> None:
    """Write the newest model of the peer in HOME to a safetensors file, or the update ROOT of any peer.

    The newest model is the checkpoint of `learnae run`, exact and whole, as it was merged last: between two merges a peer trains on its own
    rows. Without a checkpoint it is the newest published update: the shared tensors, as precise as the codec. HOME is a peer's
    folder or its TOML file. Without HOME it is learnae.toml in this folder, or else the home under the state folder. Code runs only if you
    name a TOML file. With a home, no code runs, and no other machine is asked.
    """
    from learnae.cli.homes import home_and_rest

    home, root = home_and_rest(home, root)
    for line in export_model(ExportArguments(home, root, out, published=published, trained=trained, force=force, debug=debug)):
        print_result(line)
