"""Kerl, the hash of bundles: Keccak-384 between two conversions. In plain Python: `hashlib` has SHA-3, which pads otherwise."""

from __future__ import annotations

from learnae_iota.trytes import from_number, to_number

_BLOCK_TRYTES = 81
_BLOCK_BYTES, _RATE_BYTES = 48, 104
_LANE = (1 << 64) - 1


def bundle_hash(trytes: str) -> str:
    """81 trytes, for any whole number of blocks of 81."""
    blocks = (trytes[start : start + _BLOCK_TRYTES] for start in range(0, len(trytes), _BLOCK_TRYTES))
    digest = keccak_384(b"".join(_short(to_number(block)).to_bytes(_BLOCK_BYTES, "big", signed=True) for block in blocks))
    return from_number(_short(int.from_bytes(digest, "big", signed=True)), _BLOCK_TRYTES)


def keccak_384(data: bytes) -> bytes:
    padded = bytearray(data + b"\x01" + bytes(-(len(data) + 1) % _RATE_BYTES))
    padded[-1] |= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), _RATE_BYTES):
        for lane in range(_RATE_BYTES // 8):
            lanes[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        lanes = _permuted(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[: _BLOCK_BYTES // 8])


def _short(number: int) -> int:
    """Without the last of its 243 trits, which Kerl has no room for."""
    whole = 3**242
    return (number + whole // 2) % whole - whole // 2


def _permuted(a: list[int]) -> list[int]:
    """Keccak-f[1600]; the lane of x and y stands at x + 5 y. https://keccak.team/keccak_specs_summary.html"""
    register = 1
    for _ in range(24):
        columns = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        a = [lane ^ columns[(i + 4) % 5] ^ _rotated(columns[(i + 1) % 5], 1) for i, lane in enumerate(a)]
        a = _moved(a)
        a = [a[i] ^ (~a[i - i % 5 + (i + 1) % 5] & _LANE & a[i - i % 5 + (i + 2) % 5]) for i in range(25)]
        for bit in range(7):
            register = register << 1 ^ (register >> 7) * 0x171
            if register & 2:
                a[0] ^= 1 << ((1 << bit) - 1)
    return a


def _moved(a: list[int]) -> list[int]:
    moved, x, y = list(a), 1, 0
    current = a[1]
    for step in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        moved[x + 5 * y], current = _rotated(current, (step + 1) * (step + 2) // 2), a[x + 5 * y]
    return moved


def _rotated(lane: int, bits: int) -> int:
    bits %= 64
    return (lane << bits | lane >> (64 - bits)) & _LANE
