"""The codec `sparse`: of what readers do not have yet the largest values, in a few bits each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
from attrs.validators import and_, ge, gt, le

from learnae.config.tables import option
from learnae.elementwise import pieces
from learnae.errors import UpdateRejectedError
from learnae.plugins.codec import SCALE, check_exponent, deflated, from_bfloat16, inflated, read_scales, to_bfloat16
from learnae.plugins.delta import stored_scales
from learnae.plugins.patch import FAR_GAP, counts, gaps_of, places_of
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array
    from learnae.strategies import Context

BLOCK = 64  # of the values that are sent


@attrs.frozen
class SparseOptions:
    """How much of the residual a version has, and how long a chain becomes."""

    share: float = option(0.1, "The share of the values that a version has: the largest ones of the residual.", and_(gt(0.0001), le(1.0)))
    bits: int = option(4, "How many bits each of them takes.", and_(ge(2), le(4)))
    versions: int = option(20, "How many versions in a row make up a chain, the whole one among them.", and_(ge(1), le(64)))


class Sparse(Codec):
    """Top-k of the residual with error feedback: copy = copy + Q(top-k(model - copy)), where the copy is what readers have of this peer.

    What was not sent is in the next residual, so nothing is lost for good: that is the error feedback. Of each run of 65,536 values the
    `share` with the largest residuals goes, as q * scale with q in -n..-1 and 1..n, n = 2^(bits - 1), scale = the largest of 64 sent ones
    over n. Bytes: gaps as in `patch`, the scales as in `int8`, one code for each q; all of it deflated. The first version of a
    chain is bfloat16. Source: SparseLoCo, arXiv 2508.15706, which sends 1.56 % in 2 bits of pseudo-gradients.
    """

    Options = SparseOptions
    chained: ClassVar[bool] = True
    small: ClassVar[int] = 2 * BLOCK

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        chosen = options if isinstance(options, SparseOptions) else SparseOptions()
        self.versions, self.share, self.bits = chosen.versions, chosen.share, chosen.bits

    def encode(self, name: str, tensor: Array, base: Array | None, rng: np.random.Generator) -> Encoded:
        if base is None:
            return Encoded(to_bfloat16(tensor).tobytes())
        with np.errstate(over="ignore", invalid="ignore"):
            residual = np.asarray(tensor, np.float32).reshape(-1) - base.reshape(-1)
        places = _largest(residual, self.share)
        sent, most = residual[places].astype(np.float64), 1 << (self.bits - 1)
        scales = np.abs(np.pad(sent, (0, -sent.size % BLOCK)).reshape(-1, BLOCK)).max(axis=1, initial=0.0) / most
        stored, exponent = stored_scales(np.where(np.isinf(scales), np.nan, scales))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            q = np.abs(sent) / np.repeat(read_scales(stored, exponent), BLOCK)[: sent.size]
        level = np.clip(np.rint(np.where(np.isfinite(q), q, 1.0)), 1, most).astype(np.uint8)
        codes = (level - 1) | (np.signbit(sent).astype(np.uint8) << np.uint8(self.bits - 1))
        gaps, far = gaps_of(places)
        data = gaps.tobytes() + far.tobytes() + stored.tobytes() + codes.tobytes()
        meta = {"sent": int(places.size), "far": int(far.size), "exponent": exponent, "bits": self.bits, "count": residual.size}
        return Encoded(deflated(data), meta)

    def decode(self, encoded: Encoded, like: TensorSpec, base: Array | None) -> Decoded:
        if base is None:
            return Decoded(from_bfloat16(encoded.data, like))
        sent, far = counts(encoded, like, "sent")
        check_exponent(encoded.meta, like)
        bits: Any = encoded.meta.get("bits")
        if type(bits) is not int or not 2 <= bits <= 4:
            raise UpdateRejectedError("codec", f"{like.name}: values of 2 to 4 bits, not {bits!r:.40}")
        blocks, codes_at = -(-sent // BLOCK), sent + far * FAR_GAP.itemsize
        data = inflated(encoded.data, codes_at + blocks * SCALE.itemsize + sent, like)
        places = places_of(data[:codes_at], sent, like)
        scales = read_scales(np.frombuffer(data, SCALE, blocks, codes_at), int(encoded.meta["exponent"]))
        codes = np.frombuffer(data, np.uint8, offset=codes_at + blocks * SCALE.itemsize)
        most = 1 << (bits - 1)
        if (codes >= 2 * most).any():
            raise UpdateRejectedError("codec", f"{like.name}: a value of more than {bits} bits")
        levels = (codes & (most - 1)).astype(np.float32) + 1
        levels[codes >= most] *= -1
        values = np.array(base, np.float32).reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            values[places] += levels * np.repeat(scales, BLOCK)[:sent]
        return Decoded(values.reshape(like.shape))


def _largest(residual: Array, share: float) -> NDArray[np.int64]:
    """The places of the largest of each run, rising. At least one of each; what has not changed is not among them."""
    chosen = []
    for piece in pieces(residual.size):
        size = np.abs(residual[piece])
        count = max(1, round(share * size.size))
        places = np.sort(np.argpartition(size, size.size - count)[size.size - count :])
        chosen.append(places[size[places] != 0] + piece.start)
    return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
