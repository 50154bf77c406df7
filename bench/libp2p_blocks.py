"""The storage `libp2p` beside TLS over the same loopback: `python bench/libp2p_blocks.py [--quick] [--repeats N] [--profile]`.

One process holds 100 MiB in blocks of 512 KiB, another fetches them: by the storage, which checks each block by its hash and caches it, and
as one stream of trio's TLS, which does neither. Both in turn, with fresh blocks each time. `--profile` shows where the fetching side works.
"""

from __future__ import annotations

import argparse
import cProfile
import datetime
import ipaddress
import pstats
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import attrs
import psutil
import structlog
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from machine import describe
from tables import show

from learnae.content.cids import raw_cid
from learnae.node.runtime import keep_memory
from learnae.records import BLOCK_BYTES, Block
from learnae.testing.context import make_context
from learnae_libp2p.storage import Libp2pStorage, Libp2pStorageOptions

MIB = 2**20
GOAL = 0.45
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


@attrs.frozen
class Fetched:
    """Seconds that one fetch took: on the wall, and of CPU at either end."""

    wall: float
    asking: float
    holding: float


def made(seed: int, count: int) -> Iterator[Block]:
    rng = random.Random(seed)
    for _ in range(count):
        data = rng.randbytes(BLOCK_BYTES)
        yield Block(raw_cid(data), data)


async def hold_blocks(folder: Path, seed: int, count: int) -> None:
    """Serve the blocks until standard input ends; the first line says where."""
    async with Libp2pStorage(Libp2pStorageOptions(listen=LOOPBACK, mdns=False), make_context(folder, peer="holder")) as storage:
        blocks = list(made(seed, count))
        await storage.put(blocks[0].cid, blocks)
        print(storage.hints()[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def hold_stream(folder: Path, seed: int, count: int) -> None:
    """The same bytes to whoever connects, by TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate(folder))
    blocks = [block.data for block in made(seed, count)]

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        for data in blocks:
            await stream.send_all(data)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        print(listener.transport_listener.socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


def certificate(folder: Path) -> Path:
    """One for 127.0.0.1 that trusts itself, with its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


@contextmanager
def holding(way: str, folder: Path, seed: int, count: int) -> Iterator[tuple[str, psutil.Process]]:
    """What the holder has said, and its process."""
    folder.mkdir()
    command = [sys.executable, __file__, "--hold", way, str(folder), str(seed), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield next(line.strip() for line in process.stdout if "own=" not in line), psutil.Process(process.pid)
        finally:
            process.stdin.close()


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def fetch_blocks(folder: Path, seed: int, count: int, profile: cProfile.Profile | None = None) -> Fetched:
    cids = [block.cid for block in made(seed, count)]
    with holding("blocks", folder / f"blocks{seed}", seed, count) as (hint, process):
        async with Libp2pStorage(
            Libp2pStorageOptions(listen=LOOPBACK, mdns=False), make_context(folder / f"asker{seed}", peer="asker")
        ) as storage:
            await storage.get(cids[:1], lambda block: None, hints=[hint])  # connected, as it is when one update follows another
            wall, asking, theirs, came = time.monotonic(), time.process_time(), cpu(process), 0

            def take(block: Block) -> None:
                nonlocal came
                came += len(block.data)

            if profile is not None:
                profile.enable()
            await storage.get(cids[1:], take, hints=[hint])
            if profile is not None:
                profile.disable()
            assert came == (count - 1) * BLOCK_BYTES
            return Fetched(time.monotonic() - wall, time.process_time() - asking, cpu(process) - theirs)


async def fetch_stream(folder: Path, seed: int, count: int) -> Fetched:
    with holding("stream", folder / f"stream{seed}", seed, count) as (port, process):
        context = ssl.create_default_context(cafile=str(folder / f"stream{seed}" / "certificate.pem"))
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", int(port), ssl_context=context, https_compatible=True)
        await stream.do_handshake()
        wall, asking, theirs, came = time.monotonic(), time.process_time(), cpu(process), 0
        while data := await stream.receive_some(1 << 18):
            came += len(data)
        assert came == count * BLOCK_BYTES
        return Fetched(time.monotonic() - wall, time.process_time() - asking, cpu(process) - theirs)


async def race(folder: Path, repeats: int, count: int, *, profiled: bool) -> None:
    blocks, streams = list[Fetched](), list[Fetched]()
    for number in range(repeats):
        for way in ("blocks", "stream") if number % 2 else ("stream", "blocks"):
            if way == "blocks":
                blocks.append(await fetch_blocks(folder, number, count))
            else:
                streams.append(await fetch_stream(folder, number, count))
    ratios = [(count - 1) / one.wall / (count / other.wall) for one, other in zip(blocks, streams, strict=True)]
    mib = count * BLOCK_BYTES / MIB
    rows = [
        (
            name,
            *(f"{statistics.median(getattr(one, field) for one in fetched):.2f}" for field in ("wall", "asking", "holding")),
            f"{mib / statistics.median(one.wall for one in fetched):.0f}",
        )
        for name, fetched in (("storage `libp2p`", blocks), ("trio TLS", streams))
    ]
    show(f"{mib:.0f} MiB, medians of {repeats}", ("", "wall, s", "CPU of the asker", "CPU of the holder", "MiB/s"), rows)
    print(f"\nspeed / TLS: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; goal {GOAL})")
    if profiled:
        profile = cProfile.Profile(time.thread_time)  # CPU of the loop alone, whatever else the machine does
        await fetch_blocks(folder, repeats, count, profile)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--profile", action="store_true", help="where the loop of the fetching side spends its time")
    parser.add_argument("--hold", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_memory()  # as a node does, and for both ways
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    if arguments.hold:
        way, folder, seed, count = arguments.hold
        trio.run(hold_blocks if way == "blocks" else hold_stream, Path(folder), int(seed), int(count))
        return
    print(f"{describe()}, libp2p {version('libp2p')}")
    with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
        repeats, count = (1, 8) if arguments.quick else (arguments.repeats, 200)
        trio.run(lambda: race(Path(folder), repeats, count, profiled=arguments.profile))


if __name__ == "__main__":
    main()
