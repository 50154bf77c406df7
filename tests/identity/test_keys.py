from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.errors import ConfigError
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import OURS, SIGNATURE_BYTES, Identity, verify
from learnae.records import Announcement, Leaving, PeerId

# RFC 8032, section 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_a_seed_gives_the_key_and_signature_of_the_standard() -> None:
    identity = Identity.generate(SEED)
    assert identity.peer == PUBLIC
    assert identity.sign(b"\x72").hex() == SIGNATURE
    assert verify(identity.peer, bytes.fromhex(SIGNATURE), b"\x72")


def test_two_new_identities_differ() -> None:
    assert Identity.generate().peer != Identity.generate().peer


@given(st.binary(max_size=70), st.text("0123456789abcdefg", max_size=70), st.binary(max_size=5))
def test_no_garbage_verifies_and_none_raises(signature: bytes, peer: str, message: bytes) -> None:
    assert not verify(PeerId(peer), signature, message)
    assert not verify(PeerId(PUBLIC), signature, message)


def test_a_key_does_not_appear_in_logs() -> None:
    assert SEED.hex() not in repr(Identity.generate(SEED)) and PUBLIC in repr(Identity.generate(SEED))


def test_a_made_key_is_private_and_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = Identity.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Identity.load_or_create(path).peer == made.peer
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_a_key_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = Identity.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=rf"others on this machine may read this key \(mode 640\) \(chmod 600 {path}\)"):
        Identity.load_or_create(path)
    path.chmod(0o600)
    assert Identity.load_or_create(path).peer == made.peer


@pytest.mark.parametrize("content", [b"", SEED.hex()[:40].encode(), SEED.hex().encode(), SEED, SEED.hex().encode() + b"\n\n", b"\xff" * 65])
def test_a_damaged_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"no key of a peer.*put the file back from a copy, or delete it"):
        Identity.load_or_create(path)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_hold_a_key_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "key", tmp_path / "missing" / "key", tmp_path):
        with pytest.raises(ConfigError, match=r".+\(.+\)"):
            Identity.load_or_create(path)


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    script = "import sys, pathlib, learnae.identity.keys as keys; print(keys.Identity.load_or_create(pathlib.Path(sys.argv[1])).peer)"
    command = [sys.executable, "-c", script, str(tmp_path / "key")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1
    assert [process.returncode for process in started] == [0, 0, 0]


def test_all_that_learnae_signs_begins_with_what_a_plugin_may_not_sign():
    signed = []

    class Recorder:
        peer = Identity.generate(bytes(32)).peer

        def sign(self, message):
            signed.append(message)
            return bytes(SIGNATURE_BYTES)

    encode_envelope(Recorder(), Announcement(swarm=bytes(16), peer=Recorder.peer, number=1, body=Leaving()))
    assert [message.startswith(OURS) for message in signed] == [True]
