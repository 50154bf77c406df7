"""Files that change while they are read, and files without end, in folders where others may write: nobody is hidden by them."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.opening import look
from learnae.plugins.directory import bulletin, packs, search
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.plugins.directory.bulletin import Reader, channel_folder, post
from learnae.plugins.directory.packs import Pack
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.records import Heard
from learnae.testing.context import make_context, peer_named
from learnae.testing.published import fetched, payloads, published, same
from tests.support.limits import within

ANNA, GROUP = 53_021, 53_020
UPDATE, OTHER = published("one", *payloads(4)), published("other", *payloads(4, seed=1))
KEY = b"the key of anna"


# -- files that change while they are read ----------------------------------------------------------------------------------------


def _shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(1 << 34)


def _vanish(path: Path) -> None:
    path.unlink()


def _replace(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [_shrink, _grow, _vanish, _replace, functools.partial(os.truncate, length=0), functools.partial(os.truncate, length=7)]


def _opening_then(change: Callable[[Path], None], path: Path, original: Callable[..., int]) -> Callable[..., int]:
    def opened(name: str, **how: Any) -> int:
        descriptor = original(name, **how)
        if name == path.name and path.exists():
            change(path)
        return descriptor

    return opened


@pytest.mark.parametrize("change", CHANGES, ids=["shrinks", "grows", "vanishes", "becomes a pipe", "is emptied", "is cut"])
async def test_a_pack_that_changes_while_it_is_read_hides_no_other(tmp_path: Path, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"{UPDATE.root}.{peer_named('a')}"

    async with _storage(tmp_path, "a") as first, _storage(tmp_path, "b") as second, _storage(tmp_path, "c") as reader:
        await first.put(UPDATE.root, UPDATE.blocks)
        await second.put(UPDATE.root, UPDATE.blocks)
        with monkeypatch.context() as patched:
            patched.setattr(packs, "open_file", _opening_then(change, path, packs.open_file))
            assert same(await fetched(reader, UPDATE.cids), UPDATE)
        assert same(await fetched(reader, UPDATE.cids), UPDATE)


@pytest.mark.parametrize("change", CHANGES, ids=["shrinks", "grows", "vanishes", "becomes a pipe", "is emptied", "is cut"])
def test_a_message_that_changes_while_it_is_read_hides_no_other(tmp_path: Path, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (b"a", b"b"):
        post(tmp_path, key, key * 50)
    path = tmp_path / bulletin._hashed(b"a")
    monkeypatch.setattr(bulletin, "open_file", _opening_then(change, path, bulletin.open_file))
    messages = Reader([tmp_path], 100).look()
    assert b"b" * 50 in messages
    assert all(len(message) <= 100 for message in messages)


# -- crowds -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only it can give files to another user")
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_more_files_of_one_user_than_are_remembered_hide_no_message_of_another(
    tmp_path: Path, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulletin, "_MAX_FILES", 40)

    def crowd() -> None:
        for number in range(300):
            path = tmp_path / f"{number:032x}"
            path.touch()
            os.chown(path, 53_001, 53_001)

    if not first:
        crowd()
    for number in range(20):
        post(tmp_path, b"%d" % number, b"honest %d" % number)
    if first:
        crowd()
    reader = Reader([tmp_path], 100)
    found = set(reader.look()) - {b""}
    while reader.more:
        found |= set(reader.go_on()) - {b""}
    assert len(found) == 20


@pytest.mark.parametrize("name", ["{:032x}", "new.{:016x}", "junk {}"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
async def test_any_amount_of_junk_hides_no_message_from_a_newcomer(
    tmp_path: Path, name: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulletin, "_MAX_READ", 100)
    board, channel = tmp_path / "board", channel_folder(tmp_path / "board", "c")
    channel.mkdir(parents=True)
    if first:
        post(channel, KEY, b"hello")
    for number in range(1050):
        (channel / name.format(number)).write_bytes(b"junk")
    if not first:
        post(channel, KEY, b"hello")

    context = make_context(tmp_path / "home", peer="bert")
    async with DirectoryAnnouncer(DirectoryAnnouncerOptions(board, poll_seconds=10_000.0), context) as announcer:
        heard = list[Heard]()
        with trio.CancelScope() as limit:

            def deliver(item: Heard) -> None:
                heard.append(item)
                if item.message == b"hello":
                    limit.cancel()

            await announcer.listen(["c"], deliver)
        assert heard[-1] == Heard(b"hello", backlog=True)


@pytest.mark.slow
def test_sixty_thousand_files_of_one_user_keep_no_other_waiting(tmp_path: Path) -> None:
    """However new they are: users take turns, so the message of another comes with the first look."""
    if os.geteuid() != 0:
        pytest.skip("needs root: only it can be two users, as in a container of CI")
    post(tmp_path, KEY, b"hello")
    for number in range(60_000):
        os.close(os.open(tmp_path / f"{number:032x}", os.O_CREAT))
    os.chown(tmp_path / bulletin._hashed(KEY), ANNA, GROUP)
    os.utime(tmp_path / bulletin._hashed(KEY), (1, 1))
    (tmp_path / bulletin._hashed(KEY)).touch()
    for number in range(200):
        (tmp_path / f"{number:032x}").touch()
    reader = Reader([tmp_path], 100)
    assert b"hello" in reader.look() and reader.more


async def test_packs_of_one_user_however_many_keep_no_other_waiting(tmp_path: Path) -> None:
    """Each claims to have what is wanted, and has not. Neither a hint nor the order of time helps here: users take turns."""
    if os.geteuid() != 0:
        pytest.skip("needs root: only it can be two users, as in a container of CI")
    looked = list[str]()

    class Counting(Pack):
        def __init__(self, path: str, *, at: int) -> None:
            looked.append(path)
            super().__init__(path, at=at)

    async with _storage(tmp_path, "evil") as evil, _storage(tmp_path, "anna") as anna, _storage(tmp_path, "bert") as bert:
        await evil.put(UPDATE.root, UPDATE.blocks[:0])
        [empty] = tmp_path.iterdir()
        for number in range(300):
            (tmp_path / f"{UPDATE.root}.{peer_named(str(number))}").write_bytes(empty.read_bytes())
        await anna.put(UPDATE.root, UPDATE.blocks)
        os.chown(tmp_path / f"{UPDATE.root}.{peer_named('anna')}", ANNA, GROUP)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("learnae.plugins.directory.search.Pack", Counting)
            assert same(await fetched(bert, UPDATE.cids), UPDATE)
    assert len([name for name in looked if name.startswith(f"{UPDATE.root}.")]) <= 4


@pytest.mark.parametrize("rank", [UPDATE.root, OTHER.root], ids=["named as wanted", "others"])
def test_a_search_among_very_many_packs_looks_at_few_in_one_call_and_not_at_all(
    tmp_path: Path, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call in a thread is as long as a cancellation has to wait; each look may take a network share a millisecond."""
    for number in range(1200):
        (tmp_path / f"{rank}.{peer_named(str(number))}").touch()
    monkeypatch.setattr(search, "MOST_STRANGE", 1000)
    looks = 0

    def counting(*args: Any, **how: Any) -> Any:
        nonlocal looks
        looks += 1
        return look(*args, **how)

    monkeypatch.setattr(search, "look", counting)
    storage, most, total = _storage(tmp_path, "a"), 0, 0
    for _ in storage._batches(UPDATE.cids, ()):
        most, total, looks = max(most, looks), total + looks, 0
    assert most <= search.STEP and total + looks <= 1000


def test_a_listing_that_is_cancelled_ends_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        (tmp_path / f"junk {number}").touch()
    monkeypatch.setattr(search, "LISTED_AT_ONCE", 10)
    monkeypatch.setattr(bulletin, "_STEP", 10)
    before = len(os.listdir("/dev/fd"))
    for steps in (_storage(tmp_path, "a")._batches(UPDATE.cids, ()), Reader([tmp_path], 100).steps()):
        assert next(steps) == [] == next(steps)
        steps.close()
        assert len(os.listdir("/dev/fd")) == before


def test_a_look_of_a_reader_takes_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulletin, "_STEP", 10)
    for number in range(95):
        post(tmp_path, b"%d" % number, b"%d" % number)
    *earlier, last = Reader([tmp_path], 100).steps()
    assert earlier == [[]] * 9 and len(last) == 95


@pytest.mark.parametrize("hinted", [True, False])
@pytest.mark.parametrize("linked", [True, False], ids=["one file with many names", "many files"])
def test_large_indexes_of_strangers_are_read_up_to_a_bound_and_after_all_others(
    tmp_path: Path, hinted: bool, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    original = Pack.index

    def counting(pack: Pack, *args: Any) -> Any:
        nonlocal read
        read += pack.index_bytes()
        return original(pack, *args)

    evil = tmp_path / f"{OTHER.root}.{peer_named('evil')}"
    entries = "".join(f"b{'a' * 50}{number:08d} 0\n".translate(str.maketrans("0189", "wxyz")) for number in range(40_000))
    _write_pack(evil, entries.replace("wxyz", "0189"))
    for number in range(20):
        name = tmp_path / f"{UPDATE.root}.{peer_named(str(number))}"
        os.link(evil, name) if linked else name.write_bytes(evil.read_bytes())
    monkeypatch.setattr(Pack, "index", counting)

    async def main() -> None:
        nonlocal read
        async with _storage(tmp_path, "anna") as anna, _storage(tmp_path, "bert") as bert:
            await anna.put(UPDATE.root, UPDATE.blocks)
            read = 0
            found: dict[Any, bytes] = {}
            hints = [peer_named("anna")] if hinted else []
            await bert.get(UPDATE.cids, lambda block: found.update({block.cid: bytes(block.data)}), hints=hints)
            assert same(found, UPDATE) and read < 1000
            read = 0
            with pytest.raises(UnavailableError):
                await fetched(bert, [published("nowhere").root])

    trio.run(within(60, main))
    assert read <= (5 << 20 if linked else 33 << 20)


def _write_pack(path: Path, index: str) -> None:
    data = index.encode()
    path.write_bytes(data + packs._TRAILER.pack(packs._MAGIC, len(data), hashlib.sha256(data).digest()))


def _storage(folder: Path, peer: str) -> DirectoryStorage:
    return DirectoryStorage(DirectoryStorageOptions(path=folder), make_context(folder.parent / peer, peer=peer))
