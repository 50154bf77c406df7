"""What strangers may take together of a node's time: their metas are decoded beside the loop, one by one, in a small share of it."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import structlog
import trio

from learnae.content import roots
from learnae.node.attempts import FetchAttempts
from learnae.node.fetching import Fetcher
from learnae.node.inbox import Inbox
from learnae.node.obtaining import Obtainer, TransferPace
from learnae.node.peers import Peers
from learnae.node.rate_limits import AT_ONCE_SECONDS, SHARE, LogShare, TimeShare
from learnae.node.reports import RoundRecord
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.codec import Fp32
from learnae.records import TensorSpec
from learnae.testing.context import make_context, make_runtime
from learnae.testing.swarm import run_in_virtual_time

pytestmark = pytest.mark.virtual_time

TENSORS = 400
MODEL = {f"layer.{number}.weight": np.zeros(1, np.float32) for number in range(TENSORS)}
LOOP_BYTES = 1024  # a root, and whatever else is as short


class Thread:
    """Takes a while for each call, and knows which are under way and how long all have taken."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.under_way, self.most, self.took = seconds, 0, 0, 0.0

    async def __call__(self, function, /, *args):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await trio.sleep(self.seconds)
        self.took += self.seconds
        try:
            return function(*args)
        finally:
            self.under_way -= 1


@pytest.mark.parametrize("callers", [1, 3, 30])
async def test_however_many_strangers_there_are_they_take_a_small_share_of_the_time_one_at_a_time(callers):
    thread = Thread(0.5)
    share = TimeShare(thread, trio.current_time)

    async def call_for_ever():
        while True:
            await share(int)

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(call_for_ever)
        await trio.sleep(200)
        nursery.cancel_scope.cancel()
    assert thread.most == 1
    assert 0.5 * SHARE * 200 <= thread.took <= AT_ONCE_SECONDS + SHARE * 200 + 0.5


async def test_a_few_that_come_now_and_then_wait_for_nothing():
    share, waited = TimeShare(Thread(0.01), trio.current_time), 0.0
    for _ in range(50):
        began = trio.current_time()
        await share(int)
        waited += trio.current_time() - began - 0.01
        await trio.sleep(1)
    assert waited == pytest.approx(0.0)


async def test_whoever_is_cut_off_while_it_waits_keeps_nobody_waiting():
    share = TimeShare(Thread(10.0), trio.current_time)
    await share(int)
    with trio.move_on_after(1.0):
        await share(int)
    with trio.fail_after(10.0 / SHARE + 20.0):
        await share(int)


def test_some_lines_come_at_once_and_then_one_a_minute():
    now = 0.0
    lines = LogShare(lambda: now)
    told = []
    for second in range(600):
        now = float(second)
        told += [second] * sum(lines.take() for _ in range(5))
    assert 10 <= len(told) <= 18
    assert all(told.count(second) <= 1 for second in range(10, 600))


@pytest.fixture
def in_the_loop(monkeypatch):
    """How many bytes of dag-cbor were decoded outside of the threads that `beside` marks."""
    told = SimpleNamespace(bytes=0, beside=0, calls=0)
    look_over = roots.look_over

    def counting(data, form):
        told.bytes += 0 if told.beside else len(data)
        look_over(data, form)

    @contextmanager
    def beside():
        told.beside += 1
        try:
            yield
        finally:
            told.beside -= 1

    async def in_thread(function, /, *args):
        told.calls += 1
        await trio.lowlevel.checkpoint()
        with beside():
            return function(*args)

    told.in_thread = in_thread
    monkeypatch.setattr(roots, "look_over", counting)
    return told


@pytest.mark.parametrize("trusted", [True, False], ids=["of an accepted peer", "of a stranger"])
def test_no_meta_is_decoded_in_the_loop(trusted, in_the_loop, tmp_path, bench, publication, shelf):
    update = publication(MODEL)
    specs = {name: TensorSpec(name=name, dtype="float32", shape=(1,)) for name in MODEL}
    peers = Peers(10)
    record = peers.note(update.entry.peer)
    record.ever_accepted, record.trust = trusted, float(trusted)
    in_the_loop.bytes = 0

    async def main():
        async with trio.open_nursery() as nursery:
            made = await bench(nursery, shelf(*update.packed.blocks))
            fetcher = Fetcher(made.named, made.services, lambda peer, storage: (), structlog.get_logger())
            assembly = SimpleNamespace(codec_named=lambda name: ConfiguredStrategy("fp32", "fp32", Fp32(None, make_context(tmp_path))))
            pace, runtime = TransferPace(30.0), make_runtime(clock=trio.current_time, in_thread=in_the_loop.in_thread)
            obtainer = Obtainer(fetcher, assembly, specs, peers, FetchAttempts(Inbox(10, peers.trusts), peers), 10**7, pace, runtime)
            obtained = await obtainer.obtain_one(update.entry, RoundRecord(1, 0.0), trio.CancelScope())
            made.services.close()
            nursery.cancel_scope.cancel()
            return obtained

    obtained = run_in_virtual_time(main)
    assert obtained is not None
    assert len(obtained.decoder.content.meta.tensors) == TENSORS
    assert in_the_loop.bytes <= LOOP_BYTES
