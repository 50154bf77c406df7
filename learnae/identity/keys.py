"""A peer's Ed25519 key, in a small file that only its owner can read, and the list of peers that are admitted."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from learnae import opening
from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import HomeFolder, open_home, open_to_others
from learnae.records import PeerId

KEY = "key"  # its name in a home
SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32
OURS = b"learnae/"  # what all messages begin with that Learnae itself signs

_FILE = re.compile(r"[0-9a-f]{64}\n")  # the seed: 64 hexadecimal digits and a line end


@attrs.frozen
class Identity:
    """The key pair of one peer. It signs as this peer."""

    _key: Ed25519PrivateKey = attrs.field(repr=False)
    peer: PeerId

    @classmethod
    def generate(cls, seed: bytes | None = None) -> Identity:
        """Make an identity. The same 32 bytes of seed always give the same one."""
        key = Ed25519PrivateKey.from_private_bytes(secrets.token_bytes(SEED_BYTES) if seed is None else seed)
        return cls(key, PeerId(key.public_key().public_bytes_raw().hex()))

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """The identity in this file. It is made if there is no file. Raises ConfigError if the file is damaged, or if others may read it.

        Use it for the own home. To look into a home, use `read`, which makes nothing.
        """
        try:
            if opening.look(path) is None:
                _create(path)
            return cls.generate(_read(path))
        except opening.UnfitError as error:
            raise _problem(path, str(error.strerror), "put the file itself here, or delete this: the peer then gets a new key") from error
        except OSError as error:
            raise _problem(path, f"no key can be made or read: {error.strerror}", "check who owns this folder, and its disk") from error

    @classmethod
    def read(cls, folder: HomeFolder) -> Identity | None:
        """The identity of an open home, or None if it has none yet. Makes nothing. Raises ConfigError as `load_or_create`, and OSError."""
        try:
            descriptor = folder.open(KEY, links=None, secret=True)  # several names: see `_read`
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return cls.generate(_seed(file, folder.path / KEY))

    def sign(self, message: bytes) -> bytes:
        """Sign this message. Returns the 64 bytes of the signature."""
        return self._key.sign(message)

    def sign_for_plugin(self, message: bytes) -> bytes:
        """As `sign`, for a protocol of a plugin's. Raises ValueError for a message that could be taken for one of Learnae's own."""
        message = bytes(message)
        if message.startswith(OURS):
            raise ValueError(f"a message that begins with {OURS.decode()!r} is signed by Learnae alone")
        return self._key.sign(message)


def verify(peer: PeerId, signature: bytes, message: bytes) -> bool:
    """Whether this peer signed this message. Never raises, even for a malformed key or signature."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(peer)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def identity_in(home: Path, *, looking: bool = False) -> Identity | None:
    """`Identity.read` of a home that is closed again; `looking` as for `open_home`. Raises ConfigError."""
    try:
        with open_home(home, looking=looking) as folder:
            return Identity.read(folder)
    except OSError as error:
        raise _problem(home / KEY, f"the key cannot be read: {error.strerror}", "check who owns this folder, and its disk") from error


def write_secret(path: Path, line: str) -> None:
    """Write a key to a new file that only its owner may read. Raises ConfigError, also if the file is there already."""
    try:
        folder = opening.reach(path.parent)
        try:
            file = os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        finally:
            os.close(folder)
        with os.fdopen(file, "w") as opened:
            opened.write(line)
            opened.flush()
            os.fsync(file)
    except FileExistsError as error:
        raise ConfigError(Problem(str(path), "is there already, and a key is never written over", "name a new file")) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), f"no key was written: {error.strerror}", "name a new file in a folder of yours")) from error


def _create(path: Path) -> None:
    """Create the file, whole or not at all. If two processes do so at once, one file wins, and both read it."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(SEED_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    # Its maker is killed between the file's two names now and then, so that it may have both. It is only read.
    owners = {os.geteuid(), 0, os.stat(path.parent).st_uid}
    with os.fdopen(opening.open_file(path, owners=owners, links=None), "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_mode & 0o077:
            raise open_to_others(path, found)
        return _seed(file, path)


def _seed(file: BinaryIO, path: Path) -> bytes:
    content = file.read(2 * SEED_BYTES + 2)
    if not _FILE.fullmatch(content.decode("ascii", "replace")):
        remedy = "put the file back from a copy, or delete it: this peer then gets a new key, and others take it for a new peer"
        raise _problem(path, "this is no key of a peer: 64 hexadecimal digits on one line", remedy)
    return bytes.fromhex(content.decode())


def _problem(path: Path, message: str, remedy: str) -> ConfigError:
    return ConfigError(Problem(str(path), message, remedy))


def _keys(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen
class Admission:
    """Which peers are heard. They are named by whole keys, because the beginning of a key can be forged. Without a list all are allowed."""

    allow: frozenset[str] = attrs.field(default=frozenset(), converter=_keys)
    deny: frozenset[str] = attrs.field(default=frozenset(), converter=_keys)

    def refuses(self, peer: PeerId) -> str | None:
        """Why this verified peer is not heard: "denied" (which counts first) or "not-allowed". None if it is heard."""
        if peer in self.deny:
            return "denied"
        return "not-allowed" if self.allow and peer not in self.allow else None
