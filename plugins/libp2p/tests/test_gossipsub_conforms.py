"""The announcer passes the kit on real hosts."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from learnae import Announcer, Context
from learnae.testing.announcer_kit import AnnouncerConformance, OpenAnnouncer
from learnae.testing.context import SharedResources
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.options import GossipsubOptions
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)


class TestGossipsub(AnnouncerConformance):
    survives_reopen = False  # the medium has no memory but its peers'
    timeout_seconds = 90.0  # the hosts of a test share one process

    @pytest.fixture
    def announcer(self, learnae_contexts: Callable[[str], Context]) -> OpenAnnouncer:
        """Each is told the addresses of those that are open."""
        opened: list[GossipsubAnnouncer] = []

        def make(peer: str) -> GossipsubAnnouncer:
            there = [address for one in opened for address in one.transport.local_addresses()]
            context = attrs.evolve(learnae_contexts(peer), share=SharedResources())  # a host of its own
            one = GossipsubAnnouncer(GossipsubOptions(listen=LOOPBACK, peers=tuple(there), mdns=False), context)
            opened.append(one)
            return one

        return make

    async def garbage(self, announcer: Announcer) -> None:
        from learnae_libp2p.messages import topic_of

        assert isinstance(announcer, GossipsubAnnouncer) and announcer._gossip is not None
        for data in (b"", b"\x01", bytes(40), b"\x01" + bytes(60_000)):
            await announcer._gossip.publish(topic_of("c"), data)
