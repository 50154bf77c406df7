"""The one way to ask a daemon over HTTP: of the standard library alone, and nothing that answers is believed.

A plugin whose daemon speaks HTTP makes a `Wire` and posts over it, in a worker thread (`Context.in_thread`); `Wire.hang_up` cuts it off
from any other. What a daemon says, and what a person will read, goes through `readable` first.
"""

from learnae.http.client import FAILURES, Answer, BadAnswer, Place, TooLong, Wire
from learnae.http.messages import readable

__all__ = ["FAILURES", "Answer", "BadAnswer", "Place", "TooLong", "Wire", "readable"]
