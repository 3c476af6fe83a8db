"""What every REST request passes: faults, authorisation, rate limits, errors in Discord's form."""

import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from core.playground_token import PLAYGROUND_TOKEN
from playground.faults import Faults
from playground.limits import RateLimiter, Ruling
from playground.rest.replies import RestError, answer, refuse

_OPEN_PREFIXES = ("/interactions/", "/webhooks/", "/gateway")
_DONE, _BAD_GATEWAY = 200, 502
_UNAUTHORIZED = RestError(401, 0, "401: Unauthorized")


def make_gate(limiter: RateLimiter, faults: Faults) -> Middleware:
    """The middleware of the REST application."""

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v10")
        if faults.next_statuses:
            status = faults.next_statuses.pop(0)
            faults.count(f"rest-{status}")
            return web.Response(status=status)
        is_open = path.startswith(_OPEN_PREFIXES)
        if not is_open and request.headers.get("Authorization") != f"Bot {PLAYGROUND_TOKEN}":
            return refuse(_UNAUTHORIZED)
        route, major = _bucket(request, path)
        ruling = limiter.rule(route, major)
        if ruling.retry_after is not None:
            faults.count("rest-429")
            return _limited(route, ruling)
        response = await _answered(request, handler)
        if limiter.is_on:
            response.headers.update(_headers(route, ruling))
        if faults.next_lost_posts and route == "post-message" and response.status == _DONE:
            faults.next_lost_posts -= 1
            faults.count("rest-lost-post")
            return web.Response(status=_BAD_GATEWAY)
        if faults.next_lost_answers:
            faults.count("rest-lost")
            return web.Response(status=faults.next_lost_answers.pop(0))
        return response

    return gate


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RestError as exc:
        return refuse(exc)
    except web.HTTPNotFound:
        return refuse(RestError(404, 0, "404: Not Found"))


def _bucket(request: web.Request, path: str) -> tuple[str, str]:
    """The route's name and its major parameter."""
    parts = path.strip("/").split("/")
    if parts[0] == "channels" and len(parts) > 2 and parts[2] == "messages":
        if request.method == "POST" and len(parts) == 3:
            return "post-message", parts[1]
        if request.method == "PATCH":
            return "edit-message", parts[1]
    return f"{request.method}-{parts[0]}", parts[1] if len(parts) > 1 else ""


def _limited(route: str, ruling: Ruling) -> web.Response:
    response = answer(
        {
            "message": "You are being rate limited.",
            "retry_after": round(ruling.retry_after or 0, 3),
            "global": False,
        },
        429,
    )
    response.headers.update(_headers(route, ruling))
    # Without it discord.py takes the answer for a ban by Cloudflare.
    response.headers["Via"] = "1.1 playground"
    response.headers["Retry-After"] = str(ruling.retry_after)
    return response


def _headers(route: str, ruling: Ruling) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(ruling.limit),
        "X-RateLimit-Remaining": str(ruling.remaining),
        "X-RateLimit-Reset": f"{time.time() + ruling.reset_after:.3f}",
        "X-RateLimit-Reset-After": f"{ruling.reset_after:.3f}",
        "X-RateLimit-Bucket": route,
    }
