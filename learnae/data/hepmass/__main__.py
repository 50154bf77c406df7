"""`python -m learnae.data.hepmass FILE`: a file of synthetic rows in the format of the published one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from learnae.data.hepmass.writing import write_like_published
from learnae.outlets import say


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m learnae.data.hepmass", description="Write SYNTHETIC rows in the format of HEPMASS.")
    options.add_argument("file", type=Path, help="where to; compressed if the name ends with .gz")
    options.add_argument("--rows", type=int, default=200_000, help="how many (%(default)s)")
    options.add_argument("--seed", type=int, default=0, help="the same seed gives the same rows (%(default)s)")
    chosen = options.parse_args()
    try:
        write_like_published(chosen.file, chosen.rows, chosen.seed)
    except OSError as error:
        say(f"{chosen.file} cannot be written: {error.strerror}")
        sys.exit(1)


if __name__ == "__main__":
    main()
