"""How files in a folder of blocks are named. What is named in any other way is nobody's business here: it's neither read nor removed."""

from __future__ import annotations

import re
import secrets

from learnae.plugins.storage.packs import is_cid
from learnae.records import Cid

_OWNER = re.compile("[0-9a-f]{64}", re.ASCII)
_PACK = re.compile(r"([a-z0-9]{59})\.([0-9a-f]{64})(?:\.[0-9a-f]{8})?", re.ASCII)
_DRAFT = re.compile(r"new\.([0-9a-f]{64})\.[0-9a-f]{1,16}", re.ASCII)


def is_owner(text: str) -> bool:
    return _OWNER.fullmatch(text) is not None


def pack_name(root: Cid, owner: str) -> str:
    return f"{root}.{owner}"


def other_name(root: Cid, owner: str) -> str:
    """One that nobody knows before, for where a stranger has taken the first."""
    return f"{root}.{owner}.{secrets.token_hex(4)}"


def draft_name(owner: str) -> str:
    return f"new.{owner}.{secrets.token_hex(6)}"


def parts(name: str) -> tuple[Cid, str] | None:
    """The root and the owner that a pack's name says; None for what isn't one."""
    match = _PACK.fullmatch(name)
    return (Cid(match[1]), match[2]) if match and is_cid(match[1]) else None


def owner_of_draft(name: str) -> str | None:
    match = _DRAFT.fullmatch(name)
    return match[1] if match else None
