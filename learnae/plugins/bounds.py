"""For which versions of Learnae a plugin is: its distribution says so in its dependencies, as for pip, which does not look again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from learnae.errors import PluginError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

US = "learnae"


def own_version() -> str | None:
    """Of Learnae as it is installed; None where it runs from a checkout."""
    try:
        return metadata.version(US)
    except metadata.PackageNotFoundError:
        return None


def bounds_around(version: str) -> str:
    """What a plugin that is written now asks for: this version and all those after it in which nothing public goes.

    Before 1.0 that is up to the next second number, from then on up to the next first one.
    """
    from packaging.version import Version

    found = Version(version)
    return f">={found.major}.{found.minor},<{found.major + 1 if found.major else f'0.{found.minor + 1}'}"


def check_bounds(plugin: str, distribution: metadata.Distribution | None) -> None:
    """Raises PluginError where the distribution asks for another version of Learnae than this one.

    Nothing is asked where it names no bounds, where Learnae runs from a checkout, and of requirements that cannot be read.
    """
    version = own_version()
    if distribution is None or version is None:
        return
    for bounds in _bounds_in(distribution.requires or ()):
        if not bounds.contains(version, prereleases=True):
            raise PluginError(plugin, "being matched with this Learnae", _misfit(distribution, bounds, version))


def _misfit(distribution: metadata.Distribution, bounds: SpecifierSet, version: str) -> str:
    name = distribution.name
    remedy = f'install a version of {name} that is for it, or a {US} that fits: pip install "{US}{bounds}"'
    return f"{name} {distribution.version} is for {US}{bounds}, and this is {US} {version}: {remedy}"


def _bounds_in(requirements: Iterable[str]) -> Iterator[SpecifierSet]:
    """Those of Learnae in these lines, as far as they hold here: not those of an extra, or of another system."""
    from packaging.markers import UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for line in requirements:
        try:
            found = Requirement(line)
            holds = found.marker is None or found.marker.evaluate({"extra": ""})
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue  # a mistake in what another package is wanted for keeps nobody from training
        if holds and canonicalize_name(found.name) == US:
            yield found.specifier
