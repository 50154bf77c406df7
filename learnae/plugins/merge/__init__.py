"""The built-in merges."""
