"""Bytes that no honest peer sends: what decoders are fed by the tests (hypothesis) and by `tools/fuzz.py` (coverage-guided)."""
