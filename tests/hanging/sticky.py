"""Strategies that hang as long as a file in their peer's home says so: installed as a distribution by the tests."""

from __future__ import annotations

import time

import learnae
from learnae.plugins.codec import Fp32
from learnae.plugins.directory.storage import DirectoryStorage
from learnae.plugins.merge import Average
from learnae.plugins.selector import Uniform


def hang(context: learnae.Context, kind: str) -> None:
    """In whatever thread it is called; and it listens to nobody."""
    while (context.home.parents[1] / f"hang-{kind}").exists():
        time.sleep(0.01)


class StickyMerge(Average):
    def merge(self, local, received, state):
        hang(self.context, "merge")
        return super().merge(local, received, state)


class StickySelector(Uniform):
    def select(self, view):
        hang(self.context, "selector")
        return super().select(view)


class StickyCodec(Fp32):
    def check(self, encoded, like, base):
        hang(self.context, "codec")
        super().check(encoded, like, base)


class StickyStorage(DirectoryStorage):
    async def get(self, cids, deliver, *, hints=()):
        await self.context.in_thread(hang, self.context, "storage")
        await super().get(cids, deliver, hints=hints)


def offer(kind: str, cls: type):
    def register():
        return {"sticky": cls}

    register.__name__ = f"learnae_register_{kind}"
    return learnae.hookimpl(register)


learnae_register_merge = offer("merge", StickyMerge)
learnae_register_selector = offer("selector", StickySelector)
learnae_register_codec = offer("codec", StickyCodec)
learnae_register_storage = offer("storage", StickyStorage)
