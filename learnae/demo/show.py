"""`learnae demo`: from its first word to its picture."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from learnae.demo import exchange
from learnae.demo.director import Baselines, Director, shortcomings
from learnae.demo.processes import Plan, Stage
from learnae.demo.screen import Manner, closing_table, in_words, live_table, summary, watch
from learnae.errors import ConfigError, Problem
from learnae.hookspecs import DemoSetup
from learnae.identity.homes import claim
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmKey
from learnae.opening import replace_file
from learnae.plugins.calls import naming
from learnae.records import PeerId
from learnae.screen import Screen, Table, line
from learnae.shared_folder import FolderHandle
from learnae.texts import harmless, indented

if TYPE_CHECKING:
    from learnae.plugins.offers import StrategyOffer

EMBEDDED = "directory"
STEPS_PER_SECOND = 30.0  # daemons share the cores, and rounds take longer
LEARNING_RATE = 0.1  # more steps pass between two merges, each by itself on two or three of the digits
STEPS = 2500  # so it takes more of them


@attrs.frozen
class Scene:
    """The play, and what happens half-way beside it."""

    plan: Plan
    half_way: tuple[Callable[[], str], ...] = ()


Check = Callable[[str, Mapping[str, Any]], None]


@contextmanager
def built(chosen: Mapping[str, StrategyOffer], stage: Stage, check: Check, plan: Plan | None = None) -> Iterator[Scene]:
    """`plan` is what is played on the embedded strategies: another one there takes its time.

    `chosen` are a storage and an announcer. With other than the embedded ones the swarm is a private one.

    What a plugin starts for the demo runs while the context is entered. `check` is then called with each kind and its table, before any
    peer starts. Raises LearnaeError, also what `check` raises.
    """
    plan = Plan() if plan is None else plan
    others = {kind: offer for kind, offer in chosen.items() if offer.name != EMBEDDED}
    if not others:
        yield Scene(plan)
        return
    stage.key.touch(mode=0o600)
    stage.key.write_text(SwarmKey.generate().text())
    tables: dict[str, Any] = {"swarm": {"key_file": str(stage.key)}}
    with ExitStack() as stack:
        by_function = {_started_by(offer): offer for offer in others.values()}
        setups = {key: stack.enter_context(_started(offer, stage.folder / offer.name)) for key, offer in by_function.items()}
        for kind, offer in others.items():
            tables[kind] = [{"use": offer.name, **getattr(setups[_started_by(offer)], kind)}]
            check(kind, tables[kind][0])  # without what single peers get, which may name others that do not run yet
        plan = _slower(attrs.evolve(plan, scenery=tables))
        plan = _with_keys_of_each(plan, stage, others, setups)
        yield Scene(plan, tuple(_half_way(offer, setups[key]) for key, offer in by_function.items() if setups[key].half_way is not None))


def _slower(plan: Plan) -> Plan:
    """For daemons. Of several acts each is shorter than one that is all."""
    steps = STEPS if len(plan.acts) == 1 else plan.steps
    return attrs.evolve(
        plan,
        steps_per_second=STEPS_PER_SECOND,
        learning_rate=LEARNING_RATE,
        steps=steps,
        patience_seconds=2 * plan.patience_seconds,
    )


def _started_by(offer: StrategyOffer) -> tuple[str, str]:
    """Two strategies for which one function starts what they need share what it has started."""
    return offer.plugin, offer.demo or offer.name


def _with_keys_of_each(plan: Plan, stage: Stage, others: Mapping[str, StrategyOffer], setups: Mapping[tuple[str, str], DemoSetup]) -> Plan:
    """Plugins that name peers to each other are told their public keys before these run."""
    further: list[dict[str, dict[str, Any]]] = [{} for _ in plan.classes]
    peers: list[PeerId] = []
    for key, setup in setups.items():
        served = {kind: offer for kind, offer in others.items() if _started_by(offer) == key}
        if setup.for_each is not None:
            peers = peers or [_peer_of(stage.home(number)) for number in range(1, len(plan.classes) + 1)]
            with naming(key[0], "saying what each peer of the demo needs"):
                for mine, more in zip(further, setup.for_each(peers, plan.victim - 1), strict=True):
                    mine.update({kind: dict(getattr(more, kind)) for kind in served})
                json.dumps(further)
    return attrs.evolve(plan, further=tuple(further)) if peers else plan


def _peer_of(home: Path) -> PeerId:
    with claim(home) as claimed:
        return Identity.load_or_create(claimed.key_path).peer


@contextmanager
def _started(offer: StrategyOffer, folder: Path) -> Iterator[DemoSetup]:
    """What its plugin has started. Raises PluginError for a mistake of the plugin, none for one of whoever plays on it."""
    start = offer.load_demo()
    if start is None:
        yield DemoSetup()
        return
    with ExitStack() as stack:
        with naming(offer.plugin, f"starting the demo of {offer.name!r}"):
            setup = stack.enter_context(start(folder))
            if not isinstance(setup, DemoSetup):
                raise TypeError(f"{offer.demo} gave {setup!r} and not a learnae.DemoSetup")
            json.dumps([setup.storage, setup.announcer])  # each peer gets them in this form
        yield setup
        with naming(offer.plugin, f"ending the demo of {offer.name!r}"):
            stack.close()


def _half_way(offer: StrategyOffer, setup: DemoSetup) -> Callable[[], str]:
    def happen() -> str:
        assert setup.half_way is not None
        with naming(offer.plugin, f"running half_way of the demo of {offer.name!r}"):
            return str(setup.half_way())

    return happen


NEEDED = {"torch": "torch", "sklearn": "demo", "matplotlib": "demo"}
WIDTH = 100  # where there is no terminal that has one
LOGS = "learnae-demo-logs"

INTRODUCTION = """\
Four peers learn to read handwritten digits. Each has images of two or three
digits only, which it keeps to itself: what the peers share is their models.
No server, no leader. Half-way one of them is killed, and later comes back.
"""


@attrs.frozen(kw_only=True)
class Programme:
    """What is played, and what is told of it."""

    introduction: str
    plan: Plan
    director: type[Director]
    manner: Manner
    closing: Callable[[Director, Baselines], Table]
    summary: Callable[[Director, Baselines], str]
    shortcomings: Callable[[Director], list[str]]
    picture: str
    draw: str  # what of `learnae.demo.picture` draws it


A_KILL = Programme(
    introduction=INTRODUCTION,
    plan=Plan(),
    director=Director,
    manner=Manner(live_table, in_words),
    closing=lambda director, baselines: closing_table(director.peers, baselines),
    summary=lambda director, baselines: summary(director.peers, baselines),
    shortcomings=lambda director: shortcomings(director.peers),
    picture="learnae-demo.png",
    draw="draw_kill",
)
AN_EXCHANGE = Programme(
    introduction=exchange.INTRODUCTION,
    plan=exchange.EXCHANGE,
    director=exchange.ExchangeDirector,
    manner=Manner(exchange.exchange_table, exchange.exchange_in_words),
    closing=exchange.exchange_closing,
    summary=exchange.exchange_summary,
    shortcomings=exchange.exchange_shortcomings,
    picture="learnae-demo-data.png",
    draw="draw_exchange",
)


def show_demo(out: Path, chosen: Mapping[str, StrategyOffer], check: Check, *, keep: bool = False, programme: Programme = A_KILL) -> bool:
    """Play it on the `chosen` storage and announcer, and leave a picture in `out`. Returns whether it showed what it promises.

    `check` is as in `built`. Raises LearnaeError, KeyboardInterrupt.
    """
    console = Screen()
    if not console.is_terminal:
        console.width = WIDTH
    _check_needs()
    stage = Stage(Path(tempfile.mkdtemp(prefix="learnae-demo-")))
    try:
        with built(chosen, stage, check, programme.plan) as scene:
            _make(out)
            return _show(programme, programme.director(scene.plan, stage, half_way=scene.half_way), out, console)
    finally:
        if keep:
            console.print(line(f"Homes and logs of the peers: {stage.folder}"), soft_wrap=True)
        else:
            shutil.rmtree(stage.folder, ignore_errors=True)


def _show(programme: Programme, director: Director, out: Path, console: Screen) -> bool:
    console.print(programme.introduction)
    trio.run(_play, programme, director, console)
    if director.interrupted:
        raise KeyboardInterrupt
    found = [director.failure] if director.failure else _close(programme, director, out, console)
    if found:
        keep_logs(director.stage, out / LOGS)
        told = ["The demo has failed:", *(f"  {indented(one)}" for one in found), f"Logs: {harmless(str(out / LOGS))}"]
        console.print("\n".join(told), style="red", soft_wrap=True)
    return not found


async def _play(programme: Programme, director: Director, console: Screen) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, director, console, programme.manner)
        nursery.start_soon(partial(trio.to_thread.run_sync, prepare_data, director.stage, abandon_on_cancel=True))
        await director.play()
        nursery.cancel_scope.cancel()


def _close(programme: Programme, director: Director, out: Path, console: Screen) -> list[str]:
    from learnae.demo import picture

    baselines = director.baselines
    assert baselines is not None
    console.print(programme.closing(director, baselines))
    console.print(f"{programme.summary(director, baselines)}\n")
    put(FolderHandle(out), programme.picture, getattr(picture, programme.draw)(director, baselines))
    console.print(line(f"The same as a picture: {out / programme.picture}"), soft_wrap=True)
    return programme.shortcomings(director)


def _check_needs() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(sorted({NEEDED[name] for name in missing}))
        raise ConfigError(Problem("learnae demo", f"needs {', '.join(missing)}", f'pip install "learnae[{extras}]"'))


def _make(out: Path) -> None:
    try:
        FolderHandle(out).make(parents=True)
    except OSError as error:
        raise ConfigError(Problem("--out", f"{out} cannot be made: {error.strerror}", "name another folder")) from error


def prepare_data(stage: Stage) -> None:
    """Read once for all processes, while they load PyTorch: importing scikit-learn takes longer than the digits take to learn."""
    import numpy as np

    from learnae.demo import digits

    new = stage.data.with_name("new.npz")
    np.savez(new, **attrs.asdict(digits.load(), recurse=False))
    new.rename(stage.data)  # they wait for it: it appears whole


def keep_logs(stage: Stage, folder: Path) -> None:
    place = FolderHandle(folder.parent, (folder.name,))  # whoever made it a link meant another folder
    place.make(parents=True)
    for log in stage.folder.glob("*.log"):
        put(place, log.name, log.read_bytes())


def put(folder: FolderHandle, name: str, content: bytes) -> None:
    """In the place of what lies there, also of a link of somebody else's. Raises OSError."""
    with folder.opened() as descriptor:
        replace_file(name, content, at=descriptor, mode=0o644)
