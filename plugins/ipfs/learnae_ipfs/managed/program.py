"""Where Kubo is on this machine."""

from __future__ import annotations

import os
import shutil

from learnae import UnavailableError

VARIABLE = "LEARNAE_KUBO"


def kubo(program: str | None) -> str:
    """The program of that name or path; without one, what the variable LEARNAE_KUBO names, or `ipfs`. Raises UnavailableError.

    By its name alone none of the folder of work is found, which may be anybody's, also where the PATH names that.
    """
    wanted = program or os.environ.get(VARIABLE) or "ipfs"
    found = shutil.which(wanted)
    if found is None or (os.sep not in wanted and not os.path.isabs(found)):
        remedy = f"install Kubo (https://docs.ipfs.tech/install), or name it by the key `program` or the variable {VARIABLE}"
        raise UnavailableError(f"there is no program {wanted}: {remedy}")
    return found
