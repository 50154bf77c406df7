"""`python -m learnae`: the same as the command `learnae`."""

from __future__ import annotations

import sys

from learnae.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
