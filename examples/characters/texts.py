"""The text files that the user names, as bytes: the first nine tenths of each to learn from, the last tenth to be examined on."""

import os
from pathlib import Path

import torch

import learnae
from learnae import Problem

KEY = "TEXT"


def named():
    """The paths in TEXT, with a colon (on Windows a semicolon) between two. Raises ConfigError where there are none."""
    paths = [Path(name).expanduser() for name in os.environ.get(KEY, "").split(os.pathsep) if name]
    if not paths:
        raise learnae.ConfigError(Problem(KEY, "names no text", f"TEXT=one.txt{os.pathsep}two.txt learnae run learnae.toml"))
    return paths


def read(paths, least):
    """Bytes to learn from and bytes of the examination, as tensors of uint8.

    Raises ConfigError for a file that cannot be read or is not UTF-8, and for less than `least` bytes in either part.
    """
    texts = [_read_one(path) for path in paths]
    cuts = [len(text) * 9 // 10 for text in texts]
    learn = b"".join(text[:cut] for text, cut in zip(texts, cuts, strict=True))
    exam = b"".join(text[cut:] for text, cut in zip(texts, cuts, strict=True))
    if min(len(learn), len(exam)) < least:
        message = f"holds {len(learn) + len(exam)} bytes, a tenth of them for the examination; each part needs {least}"
        raise learnae.ConfigError(Problem(KEY, message, "name more text"))
    return tuple(torch.frombuffer(bytearray(part), dtype=torch.uint8) for part in (learn, exam))


def _read_one(path):
    try:
        text = path.read_bytes()
        text.decode()
    except OSError as error:
        raise learnae.ConfigError(Problem(KEY, f"{path} cannot be read: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise learnae.ConfigError(Problem(KEY, f"{path} is not UTF-8 at byte {error.start}", "convert it, or name another file")) from error
    return text
