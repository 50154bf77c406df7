"""Real processes share one folder, and are killed in the middle of a put."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.testing.context import make_context
from learnae.testing.published import fetched, payloads, published, same

CHILD = """
import sys, trio
from pathlib import Path
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.testing.context import make_context
from learnae.testing.published import payloads, published

folder, peer = Path(sys.argv[1]), sys.argv[2]

def slowly(blocks):
    for count, block in enumerate(blocks):
        if count == 20:
            print("half way", flush=True)
            sys.stdin.readline()
        yield block

async def main():
    async with DirectoryStorage(DirectoryStorageOptions(path=folder), make_context(folder.parent / peer, peer=peer)) as store:
        {body}

trio.run(main)
"""

HALF = "update = published('half', *payloads(40, length=1 << 19)); await store.put(update.root, slowly(update.blocks))"
MANY = """
        for number in range(1000):
            update = published(f"{peer} {number}", *payloads(20, seed=number))
            await store.put(update.root, update.blocks)
            print(number, flush=True)
            if number >= 3:
                dropped = published(f"{peer} {number - 3}", *payloads(20, seed=number - 3))
                await store.drop(dropped.root)
"""


def child(folder: Path, peer: str, body: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD.replace("{body}", body), str(folder), peer]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def storage_in(folder: Path, peer: str) -> DirectoryStorage:
    return DirectoryStorage(DirectoryStorageOptions(path=folder), make_context(folder.parent / peer, peer=peer))


def test_a_put_that_is_killed_half_way_leaves_the_others_whole_and_no_litter(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    kept = published("kept", b"something of the same peer")
    others = published("others", b"something of another peer")

    async def before() -> None:
        async with storage_in(folder, "a") as own, storage_in(folder, "b") as other:
            await own.put(kept.root, kept.blocks)
            await other.put(others.root, others.blocks)

    async def after() -> None:
        async with storage_in(folder, "a") as own, storage_in(folder, "b") as other:
            assert list(await own.roots()) == [kept.root]
            assert list(await other.roots()) == [others.root]
            assert same(await fetched(own, kept.cids), kept)
            assert same(await fetched(own, others.cids), others)

    trio.run(before)
    with child(folder, "a", HALF) as process:
        assert lines(process).readline() == "half way\n"
        process.kill()
    assert len(list(folder.glob("new.*"))) == 1
    trio.run(after)
    assert not list(folder.glob("new.*"))


@pytest.mark.parametrize("killed_after", [4, 9])
async def test_every_root_that_was_put_when_the_process_was_killed_is_whole(tmp_path: Path, killed_after: int) -> None:
    folder = tmp_path / "blocks"
    with child(folder, "a", MANY) as first, child(folder, "b", MANY) as second:
        for process in (first, second):
            for line in lines(process):
                if int(line) == killed_after:
                    break
            process.kill()

    for peer in ("a", "b"):
        async with storage_in(folder, peer) as store:
            roots = set(await store.roots())
            updates = [published(f"{peer} {number}", *payloads(20, seed=number)) for number in range(1000)]
            done = [update for update in updates if update.root in roots]
            assert len(done) == len(roots)
            assert 3 <= len(roots) <= 5
            for update in done:
                assert same(await fetched(store, update.cids), update)


async def test_a_peer_reads_what_another_process_puts_while_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    half = "update = published('half', *payloads(30)); await store.put(update.root, slowly(update.blocks)); print('done', flush=True)"

    update = published("half", *payloads(30))
    async with storage_in(folder, "b") as reader:
        with child(folder, "a", half) as process:
            assert lines(process).readline() == "half way\n"
            with pytest.raises(UnavailableError) as caught:
                await fetched(reader, update.cids)
            assert set(caught.value.missing) == set(update.cids)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert lines(process).readline() == "done\n"
        assert same(await fetched(reader, update.cids), update)
