"""The one way to ask a daemon over HTTP. It uses the standard library only, and believes nothing that a daemon answers.

A plugin makes an `HttpClient`, and posts in a worker thread (`Context.in_thread`). `hang_up` cuts the client off from any other thread.
Pass text of a daemon through `sanitize` before a person reads it. Read JSON with `load_json`.
"""

from learnae.http.client import FAILURES, BadResponseError, Endpoint, HttpClient, Response, ResponseTooLongError
from learnae.http.messages import load_json, sanitize

__all__ = ["FAILURES", "BadResponseError", "Endpoint", "HttpClient", "Response", "ResponseTooLongError", "load_json", "sanitize"]
