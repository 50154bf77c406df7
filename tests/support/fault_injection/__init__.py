"""Faults for real peers: kills, freezes, a full disk and a clock that jumps, for tests and measurements."""
