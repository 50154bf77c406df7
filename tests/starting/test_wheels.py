"""What is published: the wheels in an environment of their own, far from the checkout. `test_five_commands` trains a swarm there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_an_installed_learnae_takes_an_installed_plugin(elsewhere: Any, tmp_path: Path) -> None:
    where = elsewhere.run("python -c 'import learnae, learnae_trimmed_mean as other; print(learnae.__file__, other.__file__)'")
    assert all(Path(file).is_relative_to(tmp_path / "venv") for file in where.split())
    assert "trimmed-mean (learnae-trimmed-mean 0.1.0)" in elsewhere.run("learnae plugins")
    elsewhere.run("learnae init digits")
    file = tmp_path / "digits" / "learnae.toml"
    file.write_text(file.read_text().replace('use = "average"  ', 'use = "trimmed-mean"\ntrim = 0.25'))
    assert "trimmed-mean" in elsewhere.at("digits").run("learnae check learnae.toml")
    look = "from importlib.util import find_spec as find; print(find('tests'), find('learnae_iota.testing'))"
    assert elsewhere.run(f'python -c "{look}"') == "None None\n"
