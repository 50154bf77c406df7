"""Blocks, addresses and redialling over any transport that has streams. Nothing here knows libp2p."""
