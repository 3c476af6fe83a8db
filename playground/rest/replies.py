"""Answers and errors in Discord's form."""

import json
from typing import Any

from aiohttp import web


class RestError(Exception):
    """An error of Discord's: a status, a code of its table, and a sentence."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


UNKNOWN_CHANNEL = RestError(404, 10003, "Unknown Channel")
UNKNOWN_MESSAGE = RestError(404, 10008, "Unknown Message")
UNKNOWN_GUILD = RestError(404, 10004, "Unknown Guild")
UNKNOWN_USER = RestError(404, 10013, "Unknown User")
UNKNOWN_WEBHOOK = RestError(404, 10015, "Unknown Webhook")
UNKNOWN_INTERACTION = RestError(404, 10062, "Unknown interaction")
ALREADY_ACKNOWLEDGED = RestError(400, 40060, "Interaction has already been acknowledged.")
MISSING_ACCESS = RestError(403, 50001, "Missing Access")
NOT_OWN_MESSAGE = RestError(403, 50005, "Cannot edit a message authored by another user")
EMPTY_MESSAGE = RestError(400, 50006, "Cannot send an empty message")
MISSING_PERMISSIONS = RestError(403, 50013, "Missing Permissions")
INVALID_FORM = RestError(400, 50035, "Invalid Form Body")


def answer(data: Any, status: int = 200) -> web.Response:
    """JSON with exactly the content type that discord.py looks for."""
    return web.Response(
        body=json.dumps(data).encode(), status=status, headers={"Content-Type": "application/json"}
    )


def nothing() -> web.Response:
    """204."""
    return web.Response(status=204)


def refuse(error: RestError) -> web.Response:
    """An error as Discord writes it."""
    return answer({"code": error.code, "message": str(error)}, error.status)
