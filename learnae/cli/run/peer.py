"""A peer from a file to its last checkpoint."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from learnae.cli.run.entry import KEY, make_trainer
from learnae.cli.run.interrupt import Interrupt
from learnae.cli.run.progress import show_progress
from learnae.config.tables import Config
from learnae.errors import ConfigError, Problem
from learnae.logs import make_logger
from learnae.opening import look
from learnae.outlets import say
from learnae.plugins.peer_file import open_peer_file

if TYPE_CHECKING:
    from learnae.trainer.recipe import Trainer
    from learnae.trainer.swarm import Swarm

CHECKPOINTS, SET_ASIDE = "checkpoint", "checkpoint.set-aside"


@attrs.frozen
class RunArguments:
    """The command line of `learnae run`."""

    file: Path
    overrides: tuple[str, ...] = ()
    steps: int | None = None
    seconds: float | None = None
    fresh: bool = attrs.field(default=False, kw_only=True)
    as_json: bool = attrs.field(default=False, kw_only=True)
    debug: bool = attrs.field(default=False, kw_only=True)

    @property
    def all_overrides(self) -> tuple[str, ...]:
        return (*self.overrides, "join.fresh=true") if self.fresh else self.overrides

    @property
    def log(self) -> dict[str, str]:
        """Otherwise as LEARNAE_LOG says."""
        return {"level": "debug"} if self.debug else {}


def run_peer(arguments: RunArguments) -> None:
    """Train until the wished end. Raises KeyboardInterrupt when interrupted, with the checkpoint saved and the swarm left."""
    with Interrupt() as interrupt:
        config, _ = open_peer_file(arguments.file, overrides=arguments.all_overrides, log=make_logger("error"))  # join() tells
        entry = _entry(config)
        say("loading PyTorch")
        _import_torch()
        with interrupt.at_once():
            trainer = make_trainer(entry, config.folder)
            say(f"looking for the swarm {config.swarm.name}")
            swarm = _join(trainer, arguments)
        with swarm:
            _say_start(swarm.status.steps, arguments.steps)
            _train(attrs.evolve(trainer, batches=interrupt.between(trainer.batches)), swarm, config, arguments)


def _entry(config: Config) -> str:
    if config.train.entry is None:
        example = 'write [train] entry = "train:make_trainer", a function in train.py that returns a learnae.Trainer'
        raise ConfigError(Problem(KEY, "is needed for `learnae run`", example))
    return config.train.entry


def _import_torch() -> None:
    """Where a signal waits: an extension that is interrupted while it is imported may abort the process. Raises NeedsTorch."""
    import learnae

    _ = learnae.Trainer


def _join(trainer: Trainer, arguments: RunArguments) -> Swarm:
    """Join where the last checkpoint of this home left off, or anew."""
    from learnae import join

    resume = functools.partial(_resume, trainer, arguments)
    return join(
        trainer.model,
        config=arguments.file,
        optimizer=trainer.optimizer,
        overrides=arguments.all_overrides,
        resume=resume,
        log=arguments.log,
    )


def _resume(trainer: Trainer, arguments: RunArguments, home: Path) -> Mapping[str, Any] | None:
    from learnae.trainer.loop import resume

    if arguments.fresh:
        _set_aside(home / CHECKPOINTS)
    return resume(trainer, home / CHECKPOINTS, make_logger(**arguments.log))


def _set_aside(folder: Path) -> None:
    """Out of the way, but not lost: only what was set aside before is."""
    if look(folder) is not None:
        aside = folder.with_name(SET_ASIDE)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            folder.rename(aside)
        except OSError as error:
            message = f"the earlier checkpoints cannot be set aside: {error.strerror}"
            raise ConfigError(Problem(str(folder), message, f"move {folder} and {aside} away")) from error


def _say_start(step: int, steps: int | None) -> None:
    if step and steps is not None and step >= steps:
        say(f"nothing to do: the model has made {step:,} steps already, --steps {steps} counts those of earlier runs")
    elif step:
        say(f"going on from step {step:,} of an earlier run")


def _train(trainer: Trainer, swarm: Swarm, config: Config, arguments: RunArguments) -> None:
    from learnae.trainer.loop import Unfinished, train

    folder, save_seconds = swarm.home / CHECKPOINTS, config.train.save_seconds
    try:
        with show_progress(swarm, config.swarm.name, as_json=arguments.as_json) as progress:
            last = train(
                trainer,
                swarm,
                steps=arguments.steps,
                seconds=arguments.seconds,
                folder=folder,
                save_seconds=save_seconds,
                on_progress=progress,
                log=make_logger(**arguments.log),
            )
            progress(last, last=True)
        say(f"saved in {folder}")
    except Unfinished:
        say(f"not saved, since it was stopped in the middle; what was saved before is still in {folder}")
        raise
    except KeyboardInterrupt:
        say(f"saved in {folder}: the same command goes on from there")
        raise
