"""Noise as the library speaks it, with fewer steps: it reads two bytes, waits, reads one message, and copies each byte five times.

The bytes on the line, and what goes wrong on it, are the same. Here much is read at once, and a message is decrypted where it lies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from libp2p.io.exceptions import ConnectionClosedError, IncompleteReadError
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, SIZE_NOISE_MESSAGE_LEN
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secure_session import SecureSession
from noise.exceptions import NoiseInvalidMessage

from learnae_libp2p.frame_limits import BULK_BYTES, FrameAccount, FrameLimits, cost_of

READ_BYTES = 1 << 17  # of the line at once: two messages of the longest kind
TAG_BYTES = 16


class QuickNoise(NoiseTransport):  # type: ignore[misc]  # libp2p is not followed by mypy
    """The handshake is the library's own."""

    def __init__(self, *arguments: Any, limits: FrameLimits | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.limits = limits or FrameLimits()

    async def secure_inbound(self, conn: Any) -> Any:
        return QuickSession(await super().secure_inbound(conn), self.limits.account())

    async def secure_outbound(self, conn: Any, peer_id: Any) -> Any:
        return QuickSession(await super().secure_outbound(conn, peer_id), self.limits.account())


class QuickSession(SecureSession):  # type: ignore[misc]  # the same
    """What a session of the library's does after its handshake. One task reads, and writers take turns, as yamux does it.

    `next_header`, once it is set, is asked for what is read in pieces of `header_bytes`.
    """

    def __init__(self, session: SecureSession, account: FrameAccount) -> None:
        super().__init__(
            local_peer=session.local_peer,
            local_private_key=session.local_private_key,
            remote_peer=session.remote_peer,
            remote_permanent_pubkey=session.remote_permanent_pubkey,
            is_initiator=session.is_initiator,
            conn=session.conn,
        )
        protocol = session.conn.noise_state.noise_protocol
        self._encrypt, self._decrypt = protocol.cipher_state_encrypt.encrypt_with_ad, protocol.cipher_state_decrypt.decrypt_with_ad
        self._line = session.conn.read_writer.read_write_closer
        self._send_left = getattr(self._line, "send_left", None)  # of a line that keeps what a cancelled writer has left
        self._came = memoryview(b"")  # of the line, encrypted
        self._plain = memoryview(b"")  # of the last message
        self.account = account
        self._last_length = BULK_BYTES
        self.header_bytes = 0
        self.next_header: Callable[[], Awaitable[bytearray]] | None = None

    async def read(self, n: int | None = None) -> bytes:
        """So many bytes, fewer where the line ends; without a number what is left of a message, or the next one."""
        if n is None:
            if not self._plain:
                await self._next_message()
            n = len(self._plain)
        elif n == self.header_bytes and self.next_header is not None:
            return bytes(await self.next_header())
        return bytes(await self.take(n))

    async def take(self, n: int) -> bytearray:
        """So many bytes, which are the caller's, and fewer where the line ends within them. Raises what the library raises."""
        if not self._plain and n:
            await self._next_message()
        taken, self._plain = bytearray(self._plain[:n]), self._plain[n:]
        return taken if len(taken) == n else await self._gather(taken, n)

    async def write(self, data: bytes) -> None:
        """What is encrypted here arrives whole and in its turn, also where this is cancelled: the other end counts the messages."""
        if self._send_left is not None:
            await self._send_left()  # before anything is encrypted: more than one write is never kept
        sealed = (self._encrypt(None, data[at : at + MAX_PLAINTEXT_LENGTH]) for at in range(0, len(data), MAX_PLAINTEXT_LENGTH))
        await self._line.write(b"".join(part for one in sealed for part in (len(one).to_bytes(SIZE_NOISE_MESSAGE_LEN, "big"), one)))

    async def _gather(self, taken: bytearray, n: int) -> bytearray:
        """With as many bytes more as are missing."""
        while len(taken) < n:
            if not self._plain:
                try:
                    await self._next_message()
                except (IncompleteReadError, ConnectionClosedError):
                    break
            step = self._plain[: n - len(taken)]
            taken += step
            self._plain = self._plain[len(step) :]
        return taken

    async def _next_message(self) -> None:
        """Raises IncompleteReadError at the end of the line, NoiseInvalidMessage for what the other end has not encrypted."""
        if self.account.spend(cost_of(self._last_length)):
            await self.account.rest()
        await self._line_has(SIZE_NOISE_MESSAGE_LEN)
        end = SIZE_NOISE_MESSAGE_LEN + int.from_bytes(self._came[:SIZE_NOISE_MESSAGE_LEN], "big")
        await self._line_has(end)
        message, self._came = self._came[SIZE_NOISE_MESSAGE_LEN:end], self._came[end:]
        self._last_length = len(message)
        if len(message) <= TAG_BYTES:  # thousands of them would be looked through for the next byte
            raise NoiseInvalidMessage("a message without anything in it")
        try:
            self._plain = memoryview(self._decrypt(None, message))
        except InvalidTag as error:
            raise NoiseInvalidMessage("Failed authentication of message") from error

    async def _line_has(self, count: int) -> None:
        """So many bytes have come."""
        while len(self._came) < count:
            more = await self._line.read(READ_BYTES)
            if not more:
                raise IncompleteReadError("the line has ended", expected_bytes=count, received_bytes=len(self._came))
            self._came = memoryview(b"".join((self._came, more)) if self._came else more)
