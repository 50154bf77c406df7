"""A published model, out of the storages of a peer: needs neither PyTorch nor a node."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.numpy
import trio

from learnae.cli.export.model import Model
from learnae.cli.homes.settings import settings_of
from learnae.cli.strategies import NOBODY, make_strategies
from learnae.config.tables import LARGEST_BYTES
from learnae.content.unpack import Content, Manifest
from learnae.errors import ConfigError, Problem, Unavailable, UpdateRejected
from learnae.logs import make_logger
from learnae.node.assembly import Assembly
from learnae.node.decoding import Decoder
from learnae.node.fetching import Fetcher
from learnae.node.outages import Outages
from learnae.node.services import Services
from learnae.node.transfer import Transfer
from learnae.records import Cid, TensorSpec

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.cli.homes.state import HomeState
    from learnae.config.tables import Config
    from learnae.node.history import Published
    from learnae.node.insight import Sighting
    from learnae.records import Array

SECONDS = 120.0


def model_in_storage(seen: HomeState, named: str | None, root: Cid, *, debug: bool) -> Model:
    """The shared tensors of one update, in the dtypes of the model as far as numpy has them. Raises ConfigError, PluginError."""
    log = make_logger("debug" if debug else "error")
    config, manager = settings_of(seen.home, named, ("storage", "codec"), log)
    try:
        decoder = trio.run(_obtain, make_strategies(config, manager, seen.home), _limit(seen, config, root), root, log)
    except (Unavailable, UpdateRejected) as error:
        remedy = "see that its storage can be reached; only the newest few updates of a peer are kept"
        raise ConfigError(Problem("ROOT", f"{root} cannot be had: {error}", remedy)) from error
    meta = decoder.content.meta
    source = f"from update {meta.number:,} of peer {meta.peer[:8]}, encoded by {meta.codec}"
    return Model(source, len(decoder.specs), functools.partial(_save, decoder, metadata=_metadata(seen, config, decoder, root)))


def _limit(seen: HomeState, config: Config, root: Cid) -> int:
    """An own update may be as large as it was when it was published."""
    own = next((item.bytes for item in seen.history.published() if item.root == root), 0)
    return config.peer.max_update_bytes or max(LARGEST_BYTES, 2 * own)


async def _obtain(assembly: Assembly, limit: int, root: Cid, log: FilteringBoundLogger) -> Decoder:
    """Raises outside of the nursery, so that an error comes as it is and not in a group."""
    services = Services(Outages(log))
    async with trio.open_nursery() as nursery:
        try:
            await services.open(assembly.storages, nursery)
            with trio.move_on_after(SECONDS):
                return _decoder(await _fetch(assembly, services, root, limit, log), assembly)
            raise Unavailable(f"not whole within {SECONDS:.0f} s")
        except (Unavailable, UpdateRejected, ConfigError) as error:
            failure = error
        finally:
            services.close()
    raise failure


async def _fetch(assembly: Assembly, services: Services, root: Cid, limit: int, log: FilteringBoundLogger) -> Content:
    seal = assembly.swarm.blocks
    fetcher = Fetcher(assembly.storages, services, lambda peer, storage: (), log, seal)
    read = fetcher.reader(NOBODY, Transfer(limit))
    manifest = await Manifest.read(root, read, limit, seal)
    return Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids), seal)


def _decoder(content: Content, assembly: Assembly) -> Decoder:
    decoder = Decoder(content, assembly.codec_named(content.meta.codec), {spec.name: spec for spec in content.meta.specs})
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


def _metadata(seen: HomeState, config: Config, decoder: Decoder, root: Cid) -> dict[str, str]:
    meta = decoder.content.meta
    notes: list[Published | Sighting] = [*seen.history.published(), *seen.sightings.values()]
    about = next((note for note in notes if note.root == root), None)
    known = {"lineage": about.lineage.hex() if about and about.lineage else "", "age": str(about.age) if about else ""}
    fixed = {"swarm": config.swarm.name, "peer": meta.peer, "number": str(meta.number), "root": root, "codec": meta.codec}
    return {"format": "pt", **{f"learnae.{name}": value for name, value in (fixed | known).items() if value}}
