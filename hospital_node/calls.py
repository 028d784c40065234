"""Calls to SuperNode's Runtime API, made so that a broken connection costs nothing.

The one rule: a task that was taken is seen through. Uvicorn closes a connection that was idle for
5 s, and a call that starts in that very moment is lost with it; SuperNode would then wait for ever
for the rest of a reply. So each call has a connection of its own, and is made again when it breaks
off. What is asked and answered is not known here.
"""

import time

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

TRIES = 5
PAUSE_S = 0.2


class SeenThrough:
    """An interceptor for calls that SuperNode may be given twice.

    All but `AcquireTask` are such: messages and objects are stored under the digest of their
    content. It must come first, so that the others see every attempt.
    """

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """The response, from the first attempt whose connection holds.

        Raises:
            httpx.TransportError: every attempt broke off.
        """
        context.request.headers["connection"] = "close"
        for _ in range(TRIES - 1):
            try:
                return call_next(context)
            except httpx.TransportError:
                time.sleep(PAUSE_S)
        return call_next(context)
