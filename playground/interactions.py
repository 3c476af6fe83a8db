"""Interactions: from a person's click or command to the bot's answer."""

import secrets
from dataclasses import dataclass
from typing import Any

from playground import cast
from playground.ids import age_seconds_of
from playground.rest.replies import ALREADY_ACKNOWLEDGED, UNKNOWN_INTERACTION, UNKNOWN_WEBHOOK
from playground.world import ANSWERABLE_SECONDS, DIRECT, EPHEMERAL, Event, Object, World

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 2, 3, 4, 5
LOADING = 1 << 7


@dataclass
class Pending:
    """An interaction that the bot may still answer."""

    id: str
    token: str
    user_id: str
    channel_id: str
    nonce: str
    source: Object | None = None
    is_acknowledged: bool = False
    original_id: str | None = None
    command: str = ""


class Interactions:
    """All interactions; their tokens are the only key to them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pending: dict[str, Pending] = {}

    def begin(
        self,
        interaction_type: int,
        user_id: str,
        channel_id: str,
        data: Object,
        *,
        locale: str,
        nonce: str = "",
        source: Object | None = None,
    ) -> Pending:
        """A person does something that the bot must answer; the bot is told."""
        world = self._world
        channel = world.channels[channel_id]
        token = secrets.token_urlsafe(32)
        command = data.get("name", "") if interaction_type == COMMAND else ""
        pending = Pending(
            world.new_id(), token, user_id, channel_id, nonce, source, command=command
        )
        self._forget_old()
        self._pending[token] = pending
        guild_id = channel.get("guild_id")
        payload: Object = {
            "id": pending.id,
            "application_id": cast.BOT_ID,
            "type": interaction_type,
            "token": token,
            "version": 1,
            "data": data,
            "channel_id": channel_id,
            "channel": {**channel, "permissions": str(self._bits(channel, user_id))},
            "locale": locale,
            "entitlements": [],
            "app_permissions": str(self._bits(channel, cast.BOT_ID)),
            "attachment_size_limit": 25 * 2**20,
            "context": 0 if guild_id else 1,
            "authorizing_integration_owners": {"0": guild_id or "0"},
        }
        if guild_id is not None:
            member = world.member(guild_id, user_id)
            bits = str(world.permissions(guild_id, user_id))
            payload |= {
                "guild_id": guild_id,
                "guild": {"id": guild_id, "locale": "en-US", "features": []},
                "guild_locale": world.guilds[guild_id]["preferred_locale"],
                "member": {**member, "permissions": bits},
            }
        else:
            payload["user"] = world.users[user_id]
        if source is not None:
            payload["message"] = source
        world.emit(Event("INTERACTION_CREATE", payload, guild_id, channel_id))
        return pending

    def respond(self, interaction_id: str, token: str, response: Object, made: Object) -> Object:
        """The bot's first answer.

        Args:
            interaction_id: of the URL.
            token: of the URL.
            response: Discord's callback object.
            made: the message fields of its data, checked, with attachments.

        Returns:
            The callback's resource, as ``with_response`` gives it.

        Raises:
            RestError: unknown, or answered already.
        """
        self._forget_old()
        pending = self._pending.get(token)
        if pending is None or pending.id != interaction_id:
            raise UNKNOWN_INTERACTION
        if pending.is_acknowledged:
            raise ALREADY_ACKNOWLEDGED
        pending.is_acknowledged = True
        kind, data = response["type"], response.get("data") or {}
        message: Object | None = None
        if kind in (4, 5):
            flags = int(data.get("flags", 0))
            loading = LOADING if kind == 5 else 0
            message = self._post(pending, made, flags & EPHEMERAL | loading)
            pending.original_id = message["id"]
        elif kind == 7 and pending.source is not None:
            message = self._world.edit(pending.source, made)
            pending.original_id = message["id"]
        elif kind == 6 and pending.source is not None:
            pending.original_id = pending.source["id"]
        elif kind == 8:
            self._to_page(pending, "PAGE_AUTOCOMPLETE", {"choices": data.get("choices", [])})
        elif kind == 9:
            self._to_page(pending, "PAGE_MODAL_OPEN", data)
        if kind not in (8, 9):
            self._to_page(pending, "PAGE_INTERACTION_DONE", {})
        resource: Object = {"type": kind}
        if message is not None:
            resource["message"] = message
        return {
            "interaction": {
                "id": pending.id,
                "type": 2,
                "response_message_id": pending.original_id,
                "response_message_loading": kind == 5,
                "response_message_ephemeral": bool(int(data.get("flags", 0)) & EPHEMERAL),
            },
            "resource": resource,
        }

    def pending(self, token: str) -> Pending:
        """The interaction of a webhook token.

        Raises:
            RestError: unknown.
        """
        self._forget_old()
        found = self._pending.get(token)
        if found is None:
            raise UNKNOWN_WEBHOOK
        return found

    def follow_up(self, token: str, made: Object, flags: int) -> Object:
        """A further message; the first one after a deferral takes the deferred one's place."""
        pending = self.pending(token)
        original = self.message(pending, "@original") if pending.original_id else None
        if original is not None and original["flags"] & LOADING:
            return self.edit(original, made)
        return self._post(pending, made, flags & EPHEMERAL)

    def message(self, pending: Pending, message_id: str) -> Object | None:
        """A message of an interaction, by id or as ``@original``."""
        wanted = pending.original_id if message_id == "@original" else message_id
        return self._world.find(pending.channel_id, wanted or "")

    def edit(self, message: Object, changes: Object) -> Object:
        """Change one; a deferred message is loading no more."""
        return self._world.edit(message, {**changes, "flags": message["flags"] & ~LOADING})

    def _forget_old(self) -> None:
        for token, pending in list(self._pending.items()):
            if age_seconds_of(pending.id) < ANSWERABLE_SECONDS:
                # They stand in the order of their ages.
                break
            del self._pending[token]

    def _post(self, pending: Pending, made: Object, flags: int) -> Object:
        fields = dict(made)
        user = self._world.users[pending.user_id]
        return self._world.post(
            pending.channel_id,
            cast.BOT_ID,
            fields.pop("content", ""),
            only_user_id=pending.user_id if flags & EPHEMERAL else None,
            flags=flags,
            type=20 if pending.command else 0,
            interaction_metadata={
                "id": pending.id,
                "type": 2,
                "user": user,
                "name": pending.command,
            },
            **fields,
        )

    def _to_page(self, pending: Pending, name: str, data: Object) -> None:
        told: dict[str, Any] = {**data, "nonce": pending.nonce}
        self._world.emit(
            Event(name, told, channel_id=pending.channel_id, only_user_id=pending.user_id)
        )

    def _bits(self, channel: Object, user_id: str) -> int:
        if channel["type"] == DIRECT:
            return 2**50 - 1
        return self._world.permissions_in(channel, user_id)
