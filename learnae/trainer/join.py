"""learnae.join(): from a model and a few words to a swarm."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from learnae.config.folders import default_home, expanded
from learnae.config.saved_config import dump
from learnae.config.tables import SERVING, SwarmTable
from learnae.errors import ConfigError, Problem
from learnae.identity.homes import Home, claim, claim_free
from learnae.logs import make_logger
from learnae.plugins.manager import open_document, open_peer_file
from learnae.trainer.arguments import check_arguments, refuse_masters
from learnae.trainer.memberships import RESIDENTS
from learnae.trainer.model_progress import checked
from learnae.trainer.observing import ObserverSwarm
from learnae.trainer.other_rank import join_behind, load_alike
from learnae.trainer.rank_zero import RankZeroSwarm
from learnae.trainer.ranks import BUILD, FIND, LOAD, Ranks
from learnae.trainer.shared import SharedModel, by_reason, find_shared, is_known, listed
from learnae.trainer.status import SwarmSettings
from learnae.trainer.step_hook import StepHook, check_hook
from learnae.trainer.supervisor import fill_standard
from learnae.trainer.swarm import Swarm

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config


SHOWN = re.compile(r"_+\d*")


def forget(kind: type) -> None:
    """Let go of objects of this kind that are held by the last traceback, or by a notebook since a cell has shown them."""
    for error in _chain(getattr(sys, "last_value", None)):
        traceback.clear_frames(error.__traceback__)
    for names in _notebook():
        for name, value in list(names.items()):
            if isinstance(value, kind) and (isinstance(name, int) or SHOWN.fullmatch(name)):
                del names[name]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _notebook() -> Iterator[dict[Any, Any]]:
    """IPython's names, among them `_`, `__` and `_3`, and its `Out`."""
    ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    names = getattr(ipython, "user_ns", None)
    if isinstance(names, dict):
        yield names
        if isinstance(names.get("_oh"), dict):
            yield names["_oh"]


KEPT_LOCAL = "each peer has its own values; to say so yourself, or to make models alike, name them in [model] keep_local, in all peers"
BROKEN = "nothing is published or merged until these parameters are finite: initialise them, or load a checkpoint that is"
LOOKS_SPECTRAL = "called u or v, with a length of 1, and as many values as a weight beside them has rows or columns, as in spectral norm"
NOT_MERGED = "they are not merged, and adopted only with a whole model; if they are something else, rename them"
PREDECESSOR_SECONDS = 5.0  # the node of a trainer that has just ended may still be saying goodbye in this home


def join(
    model: nn.Module,
    name: str | None = None,
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    optimizer: Any = None,
    home: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    resume: Mapping[str, Any] | Callable[[Path], Mapping[str, Any] | None] | None = None,
    log: Mapping[str, str] | None = None,
    auto: bool = False,
) -> Swarm:
    """Start this peer's node, and return its swarm. Use the swarm in `with`, or end it by `leave()`.

    `config` is the path of a TOML file, or a mapping with the same content. `name` stands for its `swarm.name`. `overrides` are texts of
    the form "key=value". `home` is this peer's folder. `optimizer`, or a list of optimizers, is only checked. `log` has the keys `level`
    and `style`.

    With `auto=True` each step of the optimizer, the first of a list, counts by itself: your loop needs no `swarm.step()`, and nothing has
    to hold the swarm.

    `resume` is what `Swarm.state_dict()` gave when the model was saved. It may be a function instead: it gets the home, loads the model
    from there, and returns that state, or None if there is none.

    In a job of `torch.distributed` (torchrun; DDP, FSDP2) all ranks are one peer. Each of them calls this, and `step`, `flush`, `merged`
    and `load_state_dict` likewise. Rank 0 has the node and the home; the others read nothing of `config`, `name` and `home`.

    With `[peer] role = "observer"` the swarm does not train: its `step` is refused, its `next_model` adopts what others publish.

    An earlier swarm of this process may hold the same model or the same home. It leaves first, if nothing uses it any more.
    Raises ConfigError with all that cannot be used as it is, PluginError, RankFailed where rank 0 could not join, and what `resume` raises.
    """
    fill_standard()
    check_arguments(model=model, name=name, config=config, optimizer=optimizer, home=home, overrides=overrides, resume=resume, log=log)
    ranks = Ranks.of_this_process()
    if auto:
        check_hook(optimizer)
    if optimizer is not None:
        refuse_masters(optimizer, model)
    if ranks.rank:
        swarm: Swarm = join_behind(model, ranks, resume)
    else:
        with ranks.leading():
            swarm = _join(model, ranks, name, config, optimizer, home, overrides, resume, log or {}, auto=auto)
    if auto:
        StepHook(swarm, optimizer)
    return swarm


def _join(
    model: nn.Module, ranks: Ranks, name: str | None, config: str | os.PathLike[str] | Mapping[str, Any] | None, optimizer: Any,
    home: str | os.PathLike[str] | None, overrides: Sequence[str], resume: Any, log: Mapping[str, str], *, auto: bool,
) -> Swarm:  # fmt: skip
    """In the one process that has the node."""
    settings = _read(config, name, overrides, make_logger(**log))
    _refuse_role(settings.peer.role, ranks, auto=auto)
    keep_local = settings.model.keep_local
    named = settings.peer.home if home is None else expanded(os.fspath(home), "home").absolute()
    shared = _find_alike(model, ranks, keep_local, ())
    state = None if resume is None or callable(resume) else checked(resume)
    if RESIDENTS:
        forget(Swarm)
    RESIDENTS.make_way(settings.swarm.name, shared, named)
    with ExitStack() as undo:
        claimed = undo.enter_context(_claim(settings, named))
        if resume is not None:
            ranks.say(LOAD, home=str(claimed.path))
            state = load_alike(ranks, resume, claimed.path)
        if resume is not None:  # frozen tensors may have come from there too
            local = state["local"] if state else ()
            shared = _find_alike(model, ranks, keep_local, local)
        swarm_settings = _swarm_settings(settings, claimed, log)
        swarm = _make(model, shared, swarm_settings, optimizer, ranks)
        undo.callback(swarm.leave)
        if state is not None and isinstance(swarm, RankZeroSwarm):
            swarm.begin_from(state)
        elif state is not None:
            swarm.load_state_dict(state)
        undo.pop_all()
    if name is None and settings.swarm.name == SwarmTable().name:
        swarm_settings.logger.warning(
            "swarm.unnamed", swarm=settings.swarm.name, advice="all swarms without a name are this one; name yours: [swarm] name"
        )
    _tell_of(shared, swarm_settings)
    swarm_settings.logger.info("swarm.looking", swarm=settings.swarm.name, home=swarm_settings.home, advice="this may take some seconds")
    swarm.start()
    if isinstance(swarm, RankZeroSwarm):
        swarm.begin()
    return swarm


def _find_alike(model: nn.Module, ranks: Ranks, keep_local: Sequence[str], local: Sequence[str]) -> SharedModel:
    ranks.say(FIND, keep_local=keep_local, local=local)
    return ranks.agree(lambda: find_shared(model, keep_local, local))


def _make(model: nn.Module, shared: SharedModel, swarm_settings: SwarmSettings, optimizer: Any, ranks: Ranks) -> Swarm:
    if ranks.size > 1:
        ranks.say(BUILD)
        return RankZeroSwarm(model, shared, swarm_settings, optimizer=optimizer, ranks=ranks)
    kind = ObserverSwarm if swarm_settings.role == "observer" else Swarm
    return kind(model, shared, swarm_settings, optimizer=optimizer)


def _read(
    config: str | os.PathLike[str] | Mapping[str, Any] | None, name: str | None, overrides: Sequence[str], log: FilteringBoundLogger
) -> Config:
    if isinstance(config, Mapping):
        return open_document(config, folder=Path.cwd(), name=name, overrides=overrides, log=log)[0]
    return open_peer_file(None if config is None else expanded(os.fspath(config), "config"), name=name, overrides=overrides, log=log)[0]


def _refuse_role(role: str, ranks: Ranks, *, auto: bool) -> None:
    if role in SERVING:
        raise ConfigError(Problem("peer.role", f"a {role} has no model to join with", "start it by `learnae run`"))
    if ranks.size > 1 and role == "observer":
        raise ConfigError(Problem("peer.role", "an observer is one process, and this job has several", "start it without torchrun"))
    if auto and role == "observer":
        raise ConfigError(Problem("auto", "counts steps, and this peer is an observer, which does not train", "leave it out"))


def _claim(config: Config, named: Path | None) -> Home:
    return claim_free(default_home(config.swarm.name)) if named is None else claim(named, wait_seconds=PREDECESSOR_SECONDS)


def _swarm_settings(config: Config, home: Home, log: Mapping[str, str]) -> SwarmSettings:
    return SwarmSettings(
        name=config.swarm.name,
        role=config.peer.role,
        local_steps=config.train.local_steps,
        round_seconds=config.train.round_seconds,
        patience=config.train.patience,
        hang_seconds=config.node.hang_seconds,
        bench_rounds=config.node.bench_rounds,
        data=config.data,
        config=dump(config),
        folder=str(config.folder),
        home=str(home.path),
        home_fd=home.lock_fd,
        log=log,
        on_leave=home.close,
    )


def _tell_of(shared: SharedModel, swarm_settings: SwarmSettings) -> None:
    for pattern in shared.unmatched:
        swarm_settings.logger.warning("keep_local.unmatched", pattern=pattern, advice="no tensor of the model is called so")
    for reason, names in by_reason(shared.kept).items():
        swarm_settings.logger.warning("kept_local", tensors=listed(names), reason=reason, advice=KEPT_LOCAL)
    apart = [place for place in shared.places if place.spec.apart]
    known = [place.name for place in apart if is_known(place.owner, place.attribute)]
    guessed = [place.name for place in apart if place.name not in known]
    if known:
        swarm_settings.logger.info("kept_apart", tensors=listed(known), advice="they are not merged, and adopted only with a whole model")
    if guessed:
        swarm_settings.logger.warning("kept_apart", tensors=listed(guessed), reason=LOOKS_SPECTRAL, advice=NOT_MERGED)
    if shared.broken:
        swarm_settings.logger.warning("model.not_finite", tensors=listed(shared.broken), advice=BROKEN)
