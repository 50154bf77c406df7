"""Which versions of Kubo are known to work."""

OLDEST = (0, 38)  # before it, the names of pins were not told reliably
NEWEST_TESTED = (0, 38, 2)
RANGE = "0.38 to 0.38.2 were tested"


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
