"""What is published: the wheels in an environment of their own, far from the checkout. `test_five_commands` trains a swarm there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.libp2p_peers import NEEDS_LIBP2P

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_an_installed_learnae_takes_an_installed_plugin(elsewhere: Any, tmp_path: Path) -> None:
    where = elsewhere.run("python -c 'import learnae, learnae_winsorized_mean as other; print(learnae.__file__, other.__file__)'")
    assert all(Path(file).is_relative_to(tmp_path / "venv") for file in where.split())
    assert "winsorized-mean (learnae-winsorized-mean 0.1.0)" in elsewhere.run("learnae plugins")
    elsewhere.run("learnae init digits")
    file = tmp_path / "digits" / "learnae.toml"
    file.write_text(file.read_text().replace("[selector]\n", '[merge]\nuse = "winsorized-mean"\ntrim = 0.25\n\n[selector]\n'))
    assert "winsorized-mean" in elsewhere.at("digits").run("learnae check learnae.toml")
    look = "from importlib.util import find_spec as find; print(find('tests'), find('learnae_iota.testing'))"
    assert elsewhere.run(f'python -c "{look}"') == "None None\n"


@pytest.mark.skipif(find_spec("libp2p") is None, reason=NEEDS_LIBP2P)
@pytest.mark.parametrize(("extra", "plugins"), [("libp2p", {"libp2p"}), ("ipfs", {"ipfs"}), ("all", {"ipfs", "libp2p"})])
def test_an_extra_brings_its_plugin_from_the_wheels(without_us: Any, wheels: list[Path], extra: str, plugins: set[str]) -> None:
    without_us.run(f"python -m pip install --quiet --find-links {wheels[0].parent} learnae[{extra}]")
    shown = without_us.run("learnae plugins")
    assert {name for name in ("ipfs", "iota", "libp2p") if f"(learnae-{name} 0.1.0)" in shown} == plugins
    assert Path(without_us.run("python -c 'import learnae; print(learnae.__file__)'").strip()).is_relative_to(without_us.programs.parent)


@pytest.mark.skipif(find_spec("libp2p") is None, reason=NEEDS_LIBP2P)
def test_the_command_of_the_readme_installs_the_plugin_without_asking_for_its_name(without_us: Any, wheels: list[Path]) -> None:
    page = (Path(__file__).parents[2] / "plugins" / "libp2p" / "README.md").read_text()
    (command,) = [line.strip() for line in page.splitlines() if line.startswith("    pip install dist/")]
    (without_us.folder / "dist").symlink_to(wheels[0].parent)
    without_us.run(f"python -m {command}")
    assert "gossipsub (learnae-libp2p 0.1.0)" in without_us.run("learnae plugins")
