"""Real peers under fire: kills, freezes, a full disk and a clock that jumps, for tests and measurements."""
