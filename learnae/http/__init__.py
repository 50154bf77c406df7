"""The one way to ask a daemon over HTTP: of the standard library alone, and nothing that answers is believed.

A plugin whose daemon speaks HTTP makes an `HttpClient` and posts over it, in a worker thread (`Context.in_thread`). `hang_up` cuts it off
from any other thread. What a daemon says, and what a person will read, goes through `sanitize` first; JSON through `load_json`.
"""

from learnae.http.client import FAILURES, BadResponseError, Endpoint, HttpClient, Response, ResponseTooLongError
from learnae.http.messages import load_json, sanitize

__all__ = ["FAILURES", "BadResponseError", "Endpoint", "HttpClient", "Response", "ResponseTooLongError", "load_json", "sanitize"]
