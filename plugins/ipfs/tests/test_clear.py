"""`learnae storage clear` on a daemon that others use too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from learnae.cli.check import make_strategies
from learnae.cli.main import main
from learnae.lowlevel import Identity, SwarmKey, claim_home
from learnae.node.history import History
from learnae.plugins.manager import open_peer_file
from learnae.testing.published import payloads, published

if TYPE_CHECKING:
    from pathlib import Path

UPDATES = [published(f"cleared {number}", *payloads(2, seed=number)) for number in (1, 2, 3)]
OPEN, PRIVATE = "open = true", 'key_env = "DIGITS_KEY"'


def write_file(home: Path, address: str, swarm: str) -> Path:
    file = home.with_suffix(".toml")
    text = f'[swarm]\nname = "digits"\n{swarm}\n[peer]\nhome = "{home.name}"\n[[storage]]\nuse = "ipfs"\naddress = "{address}"\n'
    file.write_text(text)
    return file


def put_all(home: Path, file: Path) -> None:
    """As the node of a peer with this file and this home would."""
    with claim_home(home) as claimed, History.open(claimed.history_path):
        config, manager = open_peer_file(file)
        store = make_strategies(config, manager, home, Identity.load_or_create(claimed.key_path).peer).storages[0].strategy

    async def put() -> None:
        async with store:
            for update in UPDATES:
                await store.put(update.root, update.blocks)

    trio.run(put)


def pins(kubo: Any) -> list[str]:
    return sorted(kubo.ipfs("pin", "ls", "--names", "--type=recursive").splitlines())


@pytest.mark.parametrize("swarm", [OPEN, PRIVATE])
def test_no_pin_of_the_peer_remains_and_those_of_others_stay(
    swarm: str, shared_kubo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIGITS_KEY", SwarmKey(b"k" * 32).text())
    ours, others = tmp_path / "ours", tmp_path / "others"
    shared_kubo.ipfs("add", "-q", "--pin-name=theirs", data=b"somebody else's, once more")
    at_first = pins(shared_kubo)
    put_all(others, write_file(others, shared_kubo.address, swarm))
    before = pins(shared_kubo)
    put_all(ours, write_file(ours, shared_kubo.address, swarm))  # the same roots: it pins tickets of its own
    assert len(pins(shared_kubo)) == len(before) + len(UPDATES)
    assert main(["storage", "clear", str(tmp_path / "ours.toml"), "--yes"]) == 0
    assert "3 roots dropped from storage ipfs" in capsys.readouterr().out
    assert pins(shared_kubo) == before
    assert main(["storage", "clear", str(tmp_path / "others.toml"), "--yes"]) == 0
    assert pins(shared_kubo) == at_first


def test_a_daemon_that_is_not_there_is_named_and_the_exit_code_says_so(
    new_kubo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubo, home = new_kubo(), tmp_path / "home"
    file = write_file(home, kubo.address, OPEN)
    put_all(home, file)
    kubo.kill()
    assert main(["storage", "clear", str(file), "--yes"]) == 4
    assert "storage ipfs" in capsys.readouterr().err
    kubo.start()
    file = write_file(home, kubo.address, OPEN)
    assert main(["storage", "clear", str(file), "--yes"]) == 0
    assert "learnae/" not in "".join(pins(kubo))
