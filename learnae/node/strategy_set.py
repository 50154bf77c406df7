"""The strategies of one node, made from its configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from learnae.config.rules import refuse_strangers, swarm_of
from learnae.config.tables import Choice, Config, PeerTable, StorageChoice
from learnae.errors import ConfigError, LearnaeError, UnavailableError, UpdateRejectedError, signs_nothing
from learnae.identity.home_folder import PLUGINS
from learnae.identity.swarms import SwarmIdentity
from learnae.node.blocking import asynchronous
from learnae.node.runtime import PluginCall, PluginCalls
from learnae.plugins.calls import naming
from learnae.records import Budgets, FirstLook, PeerId
from learnae.strategies import Announcer, Codec, Context, Gate, Merge, Outer, Selector, Storage, Strategy

if TYPE_CHECKING:
    from learnae.node.runtime import Runtime
    from learnae.plugins.manager import PluginManager

S = TypeVar("S", bound=Strategy)


@attrs.frozen(eq=False)
class ConfiguredStrategy(Generic[S]):
    """A strategy with the name that the file gave it and the plugin that it came from. `label` tells two of one name apart."""

    name: str
    plugin: str
    strategy: S
    writes: bool = True
    label: str = ""
    calls: PluginCalls = attrs.field(factory=PluginCalls, repr=False)

    def calling(self, action: str, *, within: float = 0.0, ours: tuple[type[LearnaeError], ...] | None = None) -> PluginCall:
        """Around each call of it: what it raises becomes a PluginError that names it, and what it was asked to do.

        Only `ours` pass as they are; unless they are given, what its contract lets it raise: UnavailableError in a storage or an announcer,
        UpdateRejectedError in a codec, nothing in all others.

        `within` is the time after which whoever calls would cut it off, for a call that may wait; one that may not is late at once.
        What is late for `hang_seconds` is ended with its node, and quarantined: raises QuarantinedError instead of calling.
        """
        return self.calls.calling(self.label, self.plugin, action, within, _errors_of(self.strategy) if ours is None else ours)


def _errors_of(strategy: Strategy) -> tuple[type[LearnaeError], ...]:
    if isinstance(strategy, Codec):
        return (UpdateRejectedError,)
    return () if isinstance(strategy, Selector | Gate | Merge | Outer) else (UnavailableError,)


@attrs.define
class StrategySet:
    """All strategies of one node, and the swarm that they serve; codecs of others are made when first met."""

    swarm: SwarmIdentity
    storages: Sequence[ConfiguredStrategy[Storage]]
    announcers: Sequence[ConfiguredStrategy[Announcer]]
    selector: ConfiguredStrategy[Selector]
    gates: Sequence[ConfiguredStrategy[Gate]]
    merge: ConfiguredStrategy[Merge]
    outer: ConfiguredStrategy[Outer] | None
    codec: ConfiguredStrategy[Codec]
    calls: PluginCalls
    _factory: StrategyFactory
    _codecs: dict[str, ConfiguredStrategy[Codec]] = attrs.field(factory=dict)

    def services(self) -> Iterator[ConfiguredStrategy[Storage] | ConfiguredStrategy[Announcer]]:
        """What must be entered before use."""
        yield from self.storages
        yield from self.announcers

    def codec_named(self, name: str) -> ConfiguredStrategy[Codec]:
        """The codec that an update names, with its default options. Raises UpdateRejectedError for one that is not installed."""
        if name == self.codec.name:
            return self.codec
        if name not in self._codecs:
            self._codecs[name] = self._factory.installed_codec(name)
        return self._codecs[name]


@attrs.frozen
class StrategyFactory:
    """Makes strategies with a context of their own."""

    config: Config
    manager: PluginManager
    peer: PeerId
    runtime: Runtime
    swarm: SwarmIdentity
    sign: Callable[[bytes], bytes] = signs_nothing
    first_look: Callable[[bytes], FirstLook] = lambda message: FirstLook()

    def make(self, kind: str, choice: Choice) -> ConfiguredStrategy[Any]:
        offer = self.manager.find(kind, choice.use, self.config.folder)
        with naming(offer.plugin, f"making {kind} {choice.use!r}", ours=(ConfigError, UnavailableError)):
            strategy = asynchronous(offer.load()(choice.options, self.context(kind, choice.use)))
        writes = choice.write if isinstance(choice, StorageChoice) else True
        return ConfiguredStrategy(choice.use, offer.plugin, strategy, writes, f"{kind} {choice.use}", self.runtime.calls)

    def make_all(self, kind: str, choices: Iterable[Choice]) -> list[ConfiguredStrategy[Any]]:
        """With a count in the label where a name comes again."""
        made: list[ConfiguredStrategy[Any]] = []
        for choice in choices:
            made.append(told_apart(self.make(kind, choice), made))
        return made

    def installed_codec(self, name: str) -> ConfiguredStrategy[Codec]:
        """A name that a peer chose: looked up among what is installed, never imported by itself."""
        offer = self.manager.offers("codec").get(name)
        if offer is None:
            raise UpdateRejectedError("unknown-codec", name)
        try:
            with naming(offer.plugin, f"making codec {name!r}"):
                cls: Any = offer.load()
                strategy = cls(cls.Options(), self.context("codec", name))
                return ConfiguredStrategy(name, offer.plugin, strategy, label=f"codec {name}", calls=self.runtime.calls)
        except LearnaeError as error:
            raise UpdateRejectedError("unusable-codec", str(error)) from error

    def context(self, kind: str, name: str) -> Context:
        runtime = self.runtime
        return Context(
            home=runtime.home / PLUGINS / f"{kind}-{name.replace('/', '_').replace(':', '_')}",
            meeting=runtime.meeting,
            swarm=self.config.swarm.name,
            peer=self.peer,
            secret=self.swarm.secret,
            share=runtime.share,
            clock=runtime.clock,
            rng=runtime.rng(kind, name),
            log=runtime.log.bind(strategy=name),
            in_thread=runtime.threads(),
            channel=self.swarm.channel,
            budgets=budgets_of(self.config.peer),
            existing_only=runtime.existing_only,
            sign=self.sign,
            first_look=self.first_look,
        )


def budgets_of(peer: PeerTable) -> Budgets:
    """Each key of the table that has the name of a budget."""
    return Budgets(**{field.name: getattr(peer, field.name) for field in attrs.fields(Budgets)})


def told_apart(one: ConfiguredStrategy[Any], made: Iterable[ConfiguredStrategy[Any]]) -> ConfiguredStrategy[Any]:
    """With a count in its label where others of that kind and name were made before."""
    times = 1 + sum(other.name == one.name and other.label.startswith(one.label) for other in made)
    return attrs.evolve(one, label=f"{one.label} ({times})") if times > 1 else one


def refuse_unguarded(
    config: Config, swarm: SwarmIdentity, services: Iterable[ConfiguredStrategy[Storage] | ConfiguredStrategy[Announcer]]
) -> None:
    """Raises ConfigError where whoever comes could take part, or read along, off this machine, without consent to that."""
    refuse_strangers(config, swarm, [service.label for service in services if service.strategy.leaves_machine])


def assemble(
    config: Config,
    manager: PluginManager,
    peer: PeerId,
    runtime: Runtime,
    sign: Callable[[bytes], bytes] = signs_nothing,
    first_look: Callable[[bytes], FirstLook] = lambda message: FirstLook(),
) -> StrategySet:
    """Raises PluginError naming the plugin that cannot be made, ConfigError for a swarm that is open without consent.

    Without `sign` and `first_look`, for whoever only looks at a home, they cannot sign, and hear nobody.
    """
    swarm = swarm_of(config.swarm)
    maker = StrategyFactory(config, manager, peer, runtime, swarm, sign, first_look)
    storages, announcers = maker.make_all("storage", config.storage), maker.make_all("announcer", config.announcer)
    refuse_unguarded(config, swarm, [*storages, *announcers])
    return StrategySet(
        swarm=swarm,
        storages=storages,
        announcers=announcers,
        selector=maker.make("selector", config.selector),
        gates=maker.make_all("gate", config.gate),
        merge=maker.make("merge", config.merge),
        outer=maker.make("outer", config.outer) if config.outer else None,
        codec=maker.make("codec", config.codec),
        calls=runtime.calls,
        factory=maker,
    )
