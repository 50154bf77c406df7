"""The built-in codecs."""
