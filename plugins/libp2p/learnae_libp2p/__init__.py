"""Peers that connect directly, over libp2p. This module is light: listing plugins imports it."""
