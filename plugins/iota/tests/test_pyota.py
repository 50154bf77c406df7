from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from learnae_iota.pyota import INSTALL, NeedsPyotaError, load_pow, load_pyota


def python(code: str, *flags: str) -> str:
    """What a new process prints, on stdout and stderr together. Fails the test unless it exits with 0."""
    result = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_pyota_is_imported_without_a_word(tmp_path: Path) -> None:
    code = "from learnae_iota.pyota import load_pow, load_pyota; load_pyota(); load_pow()"
    assert python(code, "-W", "error", "-X", f"pycache_prefix={tmp_path}") == ""


def test_pyota_makes_transactions() -> None:
    iota = load_pyota()
    message = iota.TryteString.from_bytes(b"hello")
    transfer = iota.ProposedTransaction(address=iota.Address(b"A" * 81), value=0, tag=iota.Tag(b"LEARNAE"), message=message)
    bundle = iota.ProposedBundle([transfer])
    bundle.finalize()
    assert bundle[0].signature_message_fragment.decode().rstrip("\0") == "hello"


def test_a_proof_of_work_ends_in_zeros() -> None:
    """At weight magnitude 1 the last of the 243 trits of the hash is 0: the last tryte is one of nine."""
    calculator = load_pow()
    assert calculator is not None
    worked = calculator.get_powed_tx_trytes("9" * 2673, 1)
    assert len(worked) == 2673
    assert load_pyota().Transaction.from_tryte_string(worked).hash.as_trits()[-1] == 0


def test_what_others_know_of_logs_and_of_pkg_resources_stays_as_it_was() -> None:
    code = """
import logging, sys
theirs = sys.modules["pkg_resources"] = object()
from learnae_iota.pyota import load_pow, load_pyota
load_pyota(), load_pow()
print(sys.modules["pkg_resources"] is theirs, logging.getLogger().handlers, logging.getLogger().level)
"""
    assert python(code) == f"True [] {logging.WARNING}\n"


def test_two_that_import_it_at_once_leave_nothing_behind() -> None:
    code = """
import logging, sys, threading
from learnae_iota.pyota import load_pow, load_pyota
both = [threading.Thread(target=load) for load in (load_pyota, load_pow)]
[thread.start() for thread in both], [thread.join() for thread in both]
print("pkg_resources" in sys.modules, logging.getLogger().handlers, logging.getLogger().level)
"""
    assert python(code) == f"False [] {logging.WARNING}\n"


def test_listing_the_plugin_imports_neither_pyota_nor_requests() -> None:
    code = "import sys, learnae_iota; print({'iota', 'requests', 'sha3', 'click', 'learnae_iota.pyota'} & set(sys.modules))"
    assert python(code) == "set()\n"


def test_where_pyota_is_missing_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "iota", None)
    with pytest.raises(NeedsPyotaError) as caught:
        load_pyota()
    assert INSTALL in str(caught.value)


def test_where_the_proof_of_work_is_missing_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pow.ccurl_interface", None)
    assert load_pow() is None
