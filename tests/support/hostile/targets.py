"""Every decoder that eats a stranger's bytes, with valid encodings to start from and with what must hold for whatever it accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import attrs

from tests.support.hostile import byte_mutations
from tests.support.hostile.value_mutations import Form


@attrs.frozen
class Target:
    """`decode` either returns or raises one of `errors`; nothing else ever comes out. `check` asserts what holds for what it returned."""

    name: str
    decode: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...] = attrs.field(repr=False)
    forms: tuple[Form, ...] = ()
    check: Callable[[bytes, Any], None] = lambda data, value: None

    def feed(self, data: bytes) -> bool:
        """Whether these bytes were accepted. Raises what is a bug."""
        try:
            value = self.decode(data)
        except self.errors:
            return False
        self.check(data, value)
        return True

    def mutated(self, rng: Random) -> bytes:
        """One of the seeds, changed."""
        return byte_mutations.mutated(rng.choice(self.seeds), self.forms, rng)


def all_targets(folder: Path) -> dict[str, Target]:
    """By name; what lies in files is put into `folder`."""
    from tests.support.hostile import announcements, contents, files, homes, http_answers, link_lines, slices, tensors

    makers: Sequence[Callable[[], Iterator[Target]]] = (
        announcements.targets,
        contents.targets,
        tensors.targets,
        link_lines.targets,
        http_answers.targets,
        lambda: files.targets(folder),
        lambda: homes.targets(folder),
        lambda: slices.targets(folder),
    )
    return {target.name: target for make in makers for target in make()}
