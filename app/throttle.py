"""How many requests may be made with one key in a minute, or from one address by those who have none.

Each API process counts for itself, in memory: nothing is lost with it but the counts. A request that is held
(`Prefer: wait`, server-sent events) counts once.
"""

from math import ceil
from time import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access import Caller
from app.errors import Problem, respond


class Throttle:
    """Refuses requests over the limit with 429, and tells every client how much is left to it."""

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self._app = app
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        kind, who = _counted(scope)
        is_allowed = self._limiter.hit(self._limit, kind, who)
        left = self._limiter.get_window_stats(self._limit, kind, who)
        wait = max(1, ceil(left.reset_time - time()))

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"{kind}";q={self._limit.amount};w=60'
                headers["RateLimit"] = f'"{kind}";r={left.remaining};t={wait}'
            await send(message)

        if is_allowed:
            await self._app(scope, receive, tell)
            return
        detail = f"Each {kind} may make {self._limit.amount} requests in a minute; try again in {wait} s."
        problem = Problem(429, "too-many-requests", detail, headers={"Retry-After": str(wait)})
        await respond(Request(scope), problem)(scope, receive, tell)


def _counted(scope: Scope) -> tuple[str, str]:
    """What kind of name a request is counted by, and the name. A key that opens nothing counts for its address."""
    caller = scope["caller"]
    if isinstance(caller, Caller) and caller.key_id:
        return "key", caller.key_id
    return "address", scope["client"][0] if scope["client"] else ""
