"""What `learnae check` has found so far."""

from __future__ import annotations

import attrs

from learnae.config.problems import Problems


@attrs.define
class Findings:
    """What is fine, in plain words, and what is not."""

    passed: list[str] = attrs.field(factory=list)
    problems: Problems = attrs.field(factory=Problems)
