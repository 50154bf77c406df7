"""Public tools for plugins that speak to a network, a daemon or a device. The contracts of plugins are in `learnae`.

A name is imported when it is first used. So a small device that signs readings needs neither torch, numpy nor trio.
"""

from typing import TYPE_CHECKING, Any

from learnae.errors import renamed_attribute

if TYPE_CHECKING:
    from learnae.config.tables import DURATION, Matches, option
    from learnae.content.cids import check as is_intact
    from learnae.content.cids import cid_bytes, cid_text, parse_cid, raw_cid
    from learnae.content.encryption import Encryption
    from learnae.content.roots import dag_block
    from learnae.data.readings import ReadingFormat
    from learnae.data.readings import declared as reading_columns
    from learnae.http import FAILURES as HTTP_FAILURES
    from learnae.http import BadResponseError, Endpoint, HttpClient, Response, ResponseTooLongError, load_json, sanitize
    from learnae.identity.envelopes import HINT_CHARACTERS, MAX_SEQUENCE_NUMBER, SAMPLE_BYTES, encode_envelope
    from learnae.identity.homes import Home
    from learnae.identity.homes import claim as claim_home
    from learnae.identity.keys import Identity, write_secret
    from learnae.identity.swarms import SwarmIdentity, SwarmKey
    from learnae.logs import libraries_logged
    from learnae.opening import open_file, read_file, save_file
    from learnae.opening import reach as reach_folder
    from learnae.outlets import print_message, print_result
    from learnae.plugins.manager import read_swarm
    from learnae.records import BLOCK_BYTES, MEGABYTE, Announcement, Leaving, Present, Sample, Slice
    from learnae.sketches import difference as sketch_difference
    from learnae.waiting import Backoff, RunInThread, in_thread_until

__all__ = [
    "BLOCK_BYTES",
    "DURATION",
    "HINT_CHARACTERS",
    "HTTP_FAILURES",
    "MAX_SEQUENCE_NUMBER",
    "MEGABYTE",
    "SAMPLE_BYTES",
    "Announcement",
    "Backoff",
    "BadResponseError",
    "Encryption",
    "Endpoint",
    "Home",
    "HttpClient",
    "Identity",
    "Leaving",
    "Matches",
    "Present",
    "ReadingFormat",
    "Response",
    "ResponseTooLongError",
    "RunInThread",
    "Sample",
    "Slice",
    "SwarmIdentity",
    "SwarmKey",
    "cid_bytes",
    "cid_text",
    "claim_home",
    "dag_block",
    "encode_envelope",
    "in_thread_until",
    "is_intact",
    "libraries_logged",
    "load_json",
    "open_file",
    "option",
    "parse_cid",
    "print_message",
    "print_result",
    "raw_cid",
    "reach_folder",
    "read_file",
    "read_swarm",
    "reading_columns",
    "sanitize",
    "save_file",
    "sketch_difference",
    "write_secret",
]

_FROM = {
    # the options of a strategy: keys of its TOML table
    "option": "learnae.config.tables",
    "Matches": "learnae.config.tables",
    "DURATION": "learnae.config.tables",
    # blocks and their names
    "cid_bytes": "learnae.content.cids",
    "cid_text": "learnae.content.cids",
    "parse_cid": "learnae.content.cids",
    "raw_cid": "learnae.content.cids",
    "is_intact": "learnae.content.cids:check",
    "dag_block": "learnae.content.roots",
    "BLOCK_BYTES": "learnae.records",
    "MEGABYTE": "learnae.records",
    # waiting with an end
    "Backoff": "learnae.waiting",
    "in_thread_until": "learnae.waiting",
    "RunInThread": "learnae.waiting",
    # a daemon that speaks HTTP
    "HttpClient": "learnae.http",
    "Endpoint": "learnae.http",
    "Response": "learnae.http",
    "BadResponseError": "learnae.http",
    "ResponseTooLongError": "learnae.http",
    "HTTP_FAILURES": "learnae.http:FAILURES",
    "load_json": "learnae.http",
    "sanitize": "learnae.http",
    # files in which others may have put something, and texts for people
    "open_file": "learnae.opening",
    "read_file": "learnae.opening",
    "save_file": "learnae.opening",
    "reach_folder": "learnae.opening:reach",
    "write_secret": "learnae.identity.keys",
    "print_result": "learnae.outlets",
    "print_message": "learnae.outlets",
    "libraries_logged": "learnae.logs",
    # how different two models are, before any is fetched
    "sketch_difference": "learnae.sketches:difference",
    # a swarm and its secrets
    "read_swarm": "learnae.plugins.manager",
    "SwarmIdentity": "learnae.identity.swarms",
    "SwarmKey": "learnae.identity.swarms",
    "Encryption": "learnae.content.encryption",
    # who announces without being a peer, such as a sensor
    "Home": "learnae.identity.homes",
    "claim_home": "learnae.identity.homes:claim",
    "Identity": "learnae.identity.keys",
    "Announcement": "learnae.records",
    "Sample": "learnae.records",
    "Slice": "learnae.records",
    "Present": "learnae.records",
    "Leaving": "learnae.records",
    "encode_envelope": "learnae.identity.envelopes",
    "ReadingFormat": "learnae.data.readings",
    "reading_columns": "learnae.data.readings:declared",
    "SAMPLE_BYTES": "learnae.identity.envelopes",
    "MAX_SEQUENCE_NUMBER": "learnae.identity.envelopes",
    "HINT_CHARACTERS": "learnae.identity.envelopes",
}
"""Where each name lies; behind a colon, what it is called there."""
_RENAMED = {
    "MOST_NUMBERS": "MAX_SEQUENCE_NUMBER",
    "key": "option",
    "readable": "sanitize",
    "say": "print_message",
    "tell": "print_result",
}

if not TYPE_CHECKING:  # a type checker would take it as leave for any name, also a misspelt one

    def __getattr__(name: str) -> Any:
        if name not in _FROM:
            return renamed_attribute(__name__, name, _RENAMED, gone_in="0.2")
        import importlib

        module, _, inner = _FROM[name].partition(":")
        found = globals()[name] = getattr(importlib.import_module(module), inner or name)
        return found


def __dir__() -> list[str]:
    return __all__
