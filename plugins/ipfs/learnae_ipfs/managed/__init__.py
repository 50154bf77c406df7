"""A Kubo daemon that belongs to one peer: made, started, watched, kept small and ended by it."""
