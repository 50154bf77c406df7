"""Which rows of a file are a peer's: those whose number leaves its remainder."""

from __future__ import annotations

import re
from typing import Self

import attrs

from learnae.errors import ConfigError, Problem


@attrs.frozen
class Share:
    """The rows `i` with `i % of == index`; of a file in any order, each share is like the whole."""

    index: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    of: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def __attrs_post_init__(self) -> None:
        if self.index >= self.of:
            raise ValueError(f"there is no share {self.index} of {self.of}: they are counted from 0")

    @classmethod
    def parse(cls, text: str, key: str = "share") -> Self:
        """From words such as "2/4", the second of four. Raises ConfigError that names `key`."""
        form = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
        if form is None or not 1 <= int(form[1]) <= int(form[2]):
            raise ConfigError(Problem(key, f"{text!r} is no share", 'write "2/4" for the second of four'))
        return cls(int(form[1]) - 1, int(form[2]))

    def holds(self, row: int) -> bool:
        return row % self.of == self.index
