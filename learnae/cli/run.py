"""`learnae run`: trains a peer from a file. Ctrl-C ends it with a last checkpoint.

So do SIGTERM, and SIGHUP when a terminal was closed.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs
import click

from learnae.cli import options
from learnae.cli.entries import KEY, READINGS_KEY, find_entry
from learnae.config.folders import state_folder
from learnae.config.tables import SERVING, Config
from learnae.errors import ConfigError, EntryError, Problem
from learnae.identity.home_folder import check_own_folder
from learnae.logs import make_logger
from learnae.opening import look
from learnae.outlets import print_message
from learnae.plugins.calls import theirs
from learnae.plugins.manager import open_peer_file
from learnae.shared_folder import FolderHandle

if TYPE_CHECKING:
    from learnae.identity.homes import Home
    from learnae.plugins.manager import PluginManager
    from learnae.trainer.loop import TrainingLoop, TrainingProgress
    from learnae.trainer.swarm import Swarm


def make_trainer(entry: str, folder: Path) -> TrainingLoop:
    """What the user's function returns. Raises as `find_entry`, and PluginError for whatever it raises or returns instead."""
    from learnae import TrainingLoop

    function = find_entry(entry, folder)
    with theirs(entry, "making the trainer"):
        trainer = function()
    if not isinstance(trainer, TrainingLoop):
        forgot = "; is a `return` missing?" if trainer is None else ""
        raise EntryError(entry, "making the trainer", f"it returned {type(trainer).__name__} and not a learnae.TrainingLoop{forgot}", "")
    return trainer


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """While it is entered, the first signal waits for the next good moment; the same one again ends everything at once.

    A forked child, such as a worker that loads data, has the handlers that were there before: it ends as it would without us.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False
        self._heard: set[int] = set()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        numbers = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]  # nohup
        self._before = {number: signal.signal(number, self._ask) for number in numbers}
        os.register_at_fork(after_in_child=self._give_back)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._give_back()

    def _give_back(self) -> None:
        """Also in a child that another thread than the first one forked: there it is the first."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What runs within it is ended by a signal at once, or not begun. A library may make any error of the KeyboardInterrupt."""
        self._at_once = True
        try:
            self.look()
            yield
            self.look()
        except Exception as error:
            if self.asked:
                raise KeyboardInterrupt from error
            raise
        finally:
            self._at_once = False

    def between(self, batches: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Any]]:
        """The same batches; a signal that comes while one is waited for, or came before, raises KeyboardInterrupt."""

        def watched() -> Iterator[Any]:
            with self.at_once():
                source = iter(batches())
            while True:
                with self.at_once():
                    batch = next(source, _END)
                if batch is _END:
                    return
                yield batch

        return watched

    def look(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again = number in self._heard and number != signal.SIGHUP  # a shell that ends passes it on to whom the terminal told already
        self._heard.add(number)
        self.asked = True
        if again or self._at_once:
            raise KeyboardInterrupt


_END = object()


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
        with interrupt.at_once():  # a plugin that hangs while it is imported is ended by the first signal
            config, manager = open_peer_file(arguments.file, overrides=arguments.all_overrides, log=make_logger("error"))  # join() tells
        if config.peer.role == "sensor":
            _run_sensor(config, manager, arguments, interrupt)
            return
        if config.peer.role in SERVING:
            _serve(config, arguments, interrupt)
            return
        entry = _entry(config)
        print_message("loading PyTorch")
        _import_torch()
        from learnae.trainer.loop import trainable, with_loader

        observes = config.peer.role == "observer"
        with interrupt.at_once():
            trainer = make_trainer(entry, config.folder)
            trainer = trainer if observes else trainable(trainer)
            print_message(f"looking for the swarm {config.swarm.name}")
            swarm = _join(trainer, arguments, resumes=not observes)
        if observes:
            with swarm:
                _observe(trainer, swarm, config, arguments, interrupt)
            return
        with swarm:
            _say_start(swarm.status.steps, arguments.steps)
            with interrupt.at_once():
                trainer = with_loader(trainer, swarm)
            assert trainer.batches is not None
            _train(attrs.evolve(trainer, batches=interrupt.between(trainer.batches)), swarm, config, arguments)


def _serve(config: Config, arguments: RunArguments, interrupt: Interrupt) -> None:
    from learnae.cli.run_serving import give_rows, serve

    if arguments.steps is not None:
        raise ConfigError(Problem("--steps", f"a {config.peer.role} makes none", "leave it out; --seconds bounds its time"))

    def prepare(home: Home) -> None:
        if config.data.entry is not None:
            with interrupt.at_once():
                give_rows(config.data.entry, config, home)

    serve(config, prepare, log=arguments.log, as_json=arguments.as_json, seconds=arguments.seconds, interrupted=lambda: interrupt.asked)


def _run_sensor(config: Config, manager: PluginManager, arguments: RunArguments, interrupt: Interrupt) -> None:
    from learnae.cli.run_sensor import SensorRun, run_sensor

    if arguments.steps is not None:
        raise ConfigError(Problem("--steps", "a sensor makes no steps", "leave it out; --seconds ends it after a time"))
    entry = config.sensor.entry
    with interrupt.at_once():
        function = None if entry is None else find_entry(entry, config.folder, READINGS_KEY)
    how = SensorRun(function=function, seconds=arguments.seconds, as_json=arguments.as_json, log=arguments.log)
    run_sensor(config, manager, how, interrupt)


def _entry(config: Config) -> str:
    if config.train.entry is None:
        example = 'write [train] entry = "train:make_trainer", a function in train.py that returns a learnae.TrainingLoop'
        raise ConfigError(Problem(KEY, "is needed for `learnae run`", example))
    return config.train.entry


def _import_torch() -> None:
    """Where a signal waits: an extension that is interrupted while it is imported may abort the process. Raises NeedsTorchError."""
    import learnae

    keep_torch_to_own_folder()
    _ = learnae.TrainingLoop


TORCH_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def keep_torch_to_own_folder() -> None:
    """Where nobody has named another: PyTorch's own choice is in /tmp, under a name that a neighbour can take first, and it runs what
    lies there. Without a folder of this user's own it is a new one, for this run alone.
    """
    if TORCH_CACHE in os.environ:
        return
    try:
        folder = FolderHandle(state_folder(), ("torchinductor",), unnamed=True)
        folder.make(parents=True)
        with folder.opened() as descriptor:
            check_own_folder(folder.path, descriptor)
        os.environ[TORCH_CACHE] = str(folder.path)
    except (OSError, ConfigError) as error:
        os.environ[TORCH_CACHE] = new = tempfile.mkdtemp(prefix="learnae-torchinductor-")
        atexit.register(shutil.rmtree, new, ignore_errors=True)
        print_message(f"PyTorch compiles anew in this run, since its cache cannot be kept: {error}")


def _join(trainer: TrainingLoop, arguments: RunArguments, *, resumes: bool) -> Swarm:
    """Join where the last checkpoint of this home left off, or anew. An observer leaves none, and takes up none."""
    from learnae import join

    resume = functools.partial(_resume, trainer, arguments)
    return join(
        trainer.model,
        config=arguments.file,
        optimizer=trainer.optimizer,
        overrides=arguments.all_overrides,
        resume=resume if resumes else None,
        log=arguments.log,
    )


def _resume(trainer: TrainingLoop, arguments: RunArguments, home: Path) -> Mapping[str, Any] | None:
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
        print_message(f"nothing to do: the model has made {step:,} steps already, --steps {steps} counts those of earlier runs")
    elif step:
        print_message(f"going on from step {step:,} of an earlier run")


def _train(trainer: TrainingLoop, swarm: Swarm, config: Config, arguments: RunArguments) -> None:
    from learnae.cli.progress import AddressLine, show_progress  # which a sensor does without, as all that needs numpy
    from learnae.trainer.loop import UnfinishedInterrupt, train

    folder, save_seconds = swarm.home / CHECKPOINTS, config.train.save_seconds
    try:
        with show_progress(swarm, config.swarm.name, as_json=arguments.as_json) as progress:
            address_line = AddressLine(swarm.home)

            def show(moment: TrainingProgress) -> None:
                address_line()
                progress(moment)

            last = train(
                trainer,
                swarm,
                steps=arguments.steps,
                seconds=arguments.seconds,
                folder=folder,
                save_seconds=save_seconds,
                on_progress=show,
                log=make_logger(**arguments.log),
            )
            progress(last, last=True)
        print_message(f"saved in {folder}")
    except UnfinishedInterrupt:
        print_message(f"not saved, since it was stopped in the middle; what was saved before is still in {folder}")
        raise
    except KeyboardInterrupt:
        print_message(f"saved in {folder}: the same command goes on from there")
        raise


def _observe(trainer: TrainingLoop, swarm: Swarm, config: Config, arguments: RunArguments, interrupt: Interrupt) -> None:
    """An evaluation is ended by a signal at once: it leaves nothing half done."""
    from learnae.cli.progress import show_progress
    from learnae.trainer.observing import observe

    evaluate = trainer.evaluate

    def interruptible(model: Any) -> Mapping[str, float]:
        assert evaluate is not None
        with interrupt.at_once():
            return evaluate(model)

    with show_progress(swarm, config.swarm.name, as_json=arguments.as_json) as progress:
        watched = attrs.evolve(trainer, evaluate=evaluate and interruptible)
        last = observe(watched, swarm, steps=arguments.steps, seconds=arguments.seconds, on_progress=progress, look=interrupt.look)
        progress(last, last=True)


@click.command()
@options.peer_file
@options.overrides
@click.option("--steps", type=click.IntRange(min=1), help="End when the model has made so many steps, those of earlier runs included.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds.")
@click.option("--fresh", is_flag=True, help="Start anew: with a new model, and without what earlier runs left behind.")
@options.as_json
@options.debug
def run(file: Path, overrides: Sequence[str], steps: int | None, seconds: float | None, fresh: bool, as_json: bool, debug: bool) -> None:
    """Train in a swarm as FILE says, with the training loop of its [train] entry. Without FILE it is learnae.toml in this folder.

    Ctrl-C ends it after the current step, and leaves a checkpoint in the peer's home. The same command goes on from there. A peer
    whose [peer] role does not train needs neither entry nor PyTorch, and runs until Ctrl-C.
    """
    run_peer(RunArguments(file, tuple(overrides), steps, seconds, fresh=fresh, as_json=as_json, debug=debug))
