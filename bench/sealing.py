"""What a private swarm costs: the ciphers that would do, and an update of 18.9 M parameters packed and unpacked with and without a seal.

Run it with `python bench/sealing.py`. CPU time of one thread; medians of 7, sealed and unsealed in turn.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV, AESSIV
from machine import describe
from tables import show

from learnae.content.cids import check
from learnae.content.encryption import NO_ENCRYPTION, AesSiv, Encryption, room
from learnae.content.meta import Limits
from learnae.content.pack import Packed, pack
from learnae.content.unpack import Content, Manifest
from learnae.plugins.codec import Int8
from learnae.records import AnnouncementKind, Block, Cid, Encoded, PeerId, TensorSpec
from learnae.testing.context import make_context

WIDTHS = (1024, 3072, 3072, 2048)  # 18.9 M parameters
MESSAGE_BYTES = 700
REPEATS = 7
CIPHER_BYTES = 32 << 20  # for each repetition
NO_NONCE = bytes(12)  # fixed: that is how this one becomes deterministic

Action = Callable[[], object]


def main() -> None:
    print(describe())
    ciphers()
    updates()


def ciphers() -> None:
    siv, short, gcm = AESSIV(os.urandom(64)), AESSIV(os.urandom(32)), AESGCMSIV(os.urandom(32))
    pairs: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
        "AES-256-SIV (chosen)": (lambda data: siv.encrypt(data, None), lambda data: siv.decrypt(data, None)),
        "AES-128-SIV": (lambda data: short.encrypt(data, None), lambda data: short.decrypt(data, None)),
        "AES-256-GCM-SIV": (lambda data: gcm.encrypt(NO_NONCE, data, None), lambda data: gcm.decrypt(NO_NONCE, data, None)),
    }
    block, message = os.urandom(room(AesSiv(bytes(AesSiv.KEY_BYTES)))), os.urandom(MESSAGE_BYTES)
    rows = [
        (
            name,
            *(f"{len(block) / seconds_each(action, data, block) / 1e6:,.0f}" for action, data in ((seal, block), (open_, seal(block)))),
            *(f"{seconds_each(action, data, message) * 1e6:.1f}" for action, data in ((seal, message), (open_, seal(message)))),
        )
        for name, (seal, open_) in pairs.items()
    ]
    show("Ciphers", ("", "blocks, sealing MB/s", "opening MB/s", "a message, sealing µs", "opening µs"), rows)


def seconds_each(action: Callable[[bytes], bytes], data: bytes, plain: bytes) -> float:
    times = CIPHER_BYTES // len(plain) if len(plain) > MESSAGE_BYTES else 2_000

    def many() -> None:
        for _ in range(times):
            action(data)

    return median([cpu(many) for _ in range(REPEATS)]) / times


def updates() -> None:
    """Packing: encode, seal, hash. Unpacking: hash, read the meta, open, decode."""
    with tempfile.TemporaryDirectory() as home:
        codec = Int8(None, make_context(Path(home)))
    rng = np.random.default_rng(0)
    shapes = itertools.chain.from_iterable(((into, out), (out,)) for into, out in itertools.pairwise(WIDTHS))
    model = {
        TensorSpec(name=f"t{i}", dtype="float32", shape=shape): rng.standard_normal(shape, np.float32) for i, shape in enumerate(shapes)
    }
    seals: dict[str, Encryption] = {"open": NO_ENCRYPTION, "sealed": AesSiv(os.urandom(AesSiv.KEY_BYTES))}
    packing: dict[str, list[float]] = {name: [] for name in seals}
    unpacking: dict[str, list[float]] = {name: [] for name in seals}
    for _ in range(REPEATS):
        for name, seal in seals.items():
            result: list[Packed] = []
            packing[name].append(cpu(lambda seal=seal, result=result: result.append(packed(model, codec, seal))))
            unpacking[name].append(cpu(lambda seal=seal, result=result: unpack(result[0], codec, seal)))
    count = sum(spec.count for spec in model)
    rows = [(what, *(f"{median(times[name]) * 1e3:.0f}" for name in seals), share(times)) for what, times in zip(
        ("packing", "unpacking", "a round: one packed, two unpacked"), (packing, unpacking, whole(packing, unpacking)), strict=True
    )]  # fmt: skip
    show(f"An update of {count / 1e6:.1f} M parameters, int8, CPU ms", ("", "open", "sealed", "of that the seal"), rows)


def packed(model: Mapping[TensorSpec, np.ndarray], codec: Int8, seal: Encryption) -> Packed:
    rng = np.random.default_rng(0)
    entries = ((spec, codec.encode(spec.name, tensor, None, rng)) for spec, tensor in model.items())
    return pack(entries, peer=PeerId("0" * 64), kind=AnnouncementKind.UPDATE, number=1, codec="int8", encryption=seal)


def unpack(update: Packed, codec: Int8, seal: Encryption) -> None:
    store: dict[Cid, bytes] = {block.cid: block.data for block in update.blocks}

    async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
        found = {cid: store[cid] for cid in cids}
        assert all(check(Block(cid, data)) for cid, data in found.items())
        return found

    async def fetch() -> Content:
        manifest = await Manifest.read(update.root, read, Limits(1 << 32), seal)
        return Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids), seal)

    content = trio.run(fetch)
    content.check()
    for spec in content.meta.specs:
        encoded: Encoded = content.encoded(spec.name)
        codec.decode(encoded, spec, None)


def whole(packing: Mapping[str, Sequence[float]], unpacking: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    return {name: [one + 2 * other for one, other in zip(packing[name], unpacking[name], strict=True)] for name in packing}


def share(times: Mapping[str, Sequence[float]]) -> str:
    return f"{1 - median(times['open']) / median(times['sealed']):.0%}"


def cpu(action: Action) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def median(times: Sequence[float]) -> float:
    return statistics.median(times)


if __name__ == "__main__":
    main()
