"""Request bodies: plain JSON, or multipart with ``payload_json`` and files."""

import json
import mimetypes
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from playground.rest.replies import EMPTY_MESSAGE, INVALID_FORM, RestError
from playground.world import Object, World

_MAX_CONTENT = 2000
_MAX_EMBEDS = 10
_MAX_FILE_BYTES = 25 * 2**20
_PNG, _PNG_HEADER = b"\x89PNG\r\n\x1a\n", 24
_FILE_FIELD = re.compile(r"files?\[(\d+)\]$|file(\d*)$")


@dataclass
class Body:
    """What was sent: JSON and files by their number."""

    data: Object = field(default_factory=dict)
    files: dict[int, tuple[str, bytes]] = field(default_factory=dict)


async def read_body(request: web.Request) -> Body:
    """Read either form.

    Raises:
        RestError: the body is malformed or a file too large.
    """
    try:
        if not request.content_type.startswith("multipart/"):
            text = await request.text()
            return Body(json.loads(text) if text else {})
        return await _read_multipart(request)
    except ValueError as exc:
        raise INVALID_FORM from exc


async def _read_multipart(request: web.Request) -> Body:
    body = Body()
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        content = bytes(await part.read(decode=False))
        match = _FILE_FIELD.match(part.name or "")
        if part.name == "payload_json":
            body.data = json.loads(content)
        elif match:
            if len(content) > _MAX_FILE_BYTES:
                raise RestError(413, 40005, "Request entity too large")
            body.files[int(match[1] or match[2] or 0)] = (part.filename or "file", content)
    return body


def keep_files(world: World, base: str, channel_id: str, body: Body) -> list[Object]:
    """Keep the files of a body; returns them as attachments."""
    described = {
        int(a["id"]): a for a in body.data.get("attachments", []) if str(a["id"]).isdigit()
    }
    attachments = []
    for number, (name, content) in sorted(body.files.items()):
        attachment_id = world.new_id()
        path = f"/attachments/{channel_id}/{attachment_id}/{name}"
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        world.files[path] = (content, content_type)
        attachments.append(
            {
                "id": attachment_id,
                "filename": name,
                "size": len(content),
                "url": base + path,
                "proxy_url": base + path,
                "content_type": content_type,
                **_picture_size(content),
                "description": described.get(number, {}).get("description"),
            }
        )
    return attachments


def _picture_size(content: bytes) -> Object:
    """What Discord tells of pictures, of PNG alone: pages keep the room for them."""
    if content[:8] != _PNG or len(content) < _PNG_HEADER:
        return {}
    width, height = struct.unpack(">II", content[16:_PNG_HEADER])
    return {"width": width, "height": height}


def message_fields(data: Object, attachments: list[Object], kept: Sequence[Object] = ()) -> Object:
    """The parts of a message object that a bot may set, checked.

    Args:
        data: what the bot sent.
        attachments: the files that came with it.
        kept: the files that the message had before, and keeps.

    Raises:
        RestError: too long, too many embeds.
    """
    content = data.get("content")
    if content is not None and len(content) > _MAX_CONTENT:
        raise INVALID_FORM
    embeds = data.get("embeds")
    if embeds is not None and len(embeds) > _MAX_EMBEDS:
        raise INVALID_FORM
    fields: Object = {}
    if content is not None:
        fields["content"] = content
    if embeds is not None:
        fields["embeds"] = [_embed(embed, [*kept, *attachments]) for embed in embeds]
    if data.get("components") is not None:
        fields["components"] = data["components"]
    if attachments:
        fields["attachments"] = attachments
    return fields


def check_not_empty(fields: Object) -> None:
    """Refuse a message that shows nothing.

    Raises:
        RestError: 50006.
    """
    if not (fields.get("content") or "").strip() and not any(
        fields.get(name) for name in ("embeds", "attachments", "components")
    ):
        raise EMPTY_MESSAGE


def _embed(embed: Object, attachments: list[Object]) -> Object:
    """An embed whose ``attachment://`` addresses point to the message's own files."""
    urls = {f"attachment://{a['filename']}": a["url"] for a in attachments}

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: resolve(v) for k, v in value.items()}
        return urls.get(value, value) if isinstance(value, str) else value

    return {"type": "rich", **{k: resolve(v) for k, v in embed.items() if k != "fields"}} | (
        {"fields": embed["fields"]} if "fields" in embed else {}
    )
