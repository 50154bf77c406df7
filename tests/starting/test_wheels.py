"""What is published: the wheels in an environment of their own, far from the checkout, and a swarm that trains with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_swarm_trains_with_an_installed_learnae_and_an_installed_plugin(elsewhere: Any, tmp_path: Path) -> None:
    where = elsewhere.run("python -c 'import learnae, learnae_trimmed_mean as other; print(learnae.__file__, other.__file__)'")
    assert all(Path(file).is_relative_to(tmp_path / "venv") for file in where.split())
    assert "trimmed-mean (learnae-trimmed-mean 0.1.0)" in elsewhere.run("learnae plugins")
    elsewhere.run("learnae init digits")
    file = tmp_path / "digits" / "learnae.toml"
    file.write_text(file.read_text().replace('use = "average"  ', 'use = "trimmed-mean"\ntrim = 0.25'))
    project = elsewhere.at("digits")
    assert "trimmed-mean" in project.run("learnae check learnae.toml")
    peers = [project.start(f"SHARE={share} learnae run learnae.toml") for share in range(2)]
    assert [peer.counts("merged", 3) >= 3 for peer in peers] == [True, True]
    assert [peer.ends() for peer in peers] == [130, 130]
    assert "plugin" not in "\n".join(peers[0].err + peers[1].err)
