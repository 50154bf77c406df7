"""Which versions of Kubo are known to work."""

OLDEST = (0, 38)  # before it, the names of pins were not told reliably
NEWEST_TESTED = (0, 38, 2)
RANGE = "0.38 to 0.38.2 were tested"


def remark_on(version: tuple[int, ...]) -> str:
    """What is said behind a version that has not been tested; nothing for one that has."""
    return f"; it is newer than what is known to work: {RANGE}" if version > NEWEST_TESTED else ""


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
