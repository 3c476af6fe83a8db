"""Discord's objects in memory: who is there, what was said, who may see it.

Objects are kept in the shape of Discord's JSON, because everything that asks for them wants that
shape. Every change is told to the listeners as a gateway event.
"""

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground import cast
from playground.files import AttachedFiles
from playground.ids import now_iso, snowflake_now
from playground.state_text import written

Object = dict[str, Any]

_MESSAGES_KEPT = 500
_NONCES_KEPT = 5_000
# So long an interaction may be answered.
# https://docs.discord.com/developers/interactions/receiving-and-responding
ANSWERABLE_SECONDS = 900.0
EPHEMERAL = 64
GUILD_TEXT, DIRECT, PUBLIC_THREAD = 0, 1, 11


@dataclass(frozen=True)
class Event:
    """Something that happened. ``only_user_id`` hides it from everybody else, the bot included."""

    name: str
    data: Object
    guild_id: str | None = None
    channel_id: str | None = None
    only_user_id: str | None = None


class World:
    """The state of the playground.

    Invariant: ids strictly increase, over restarts too, as Discord's snowflakes do.
    """

    def __init__(self, state_file: Path | None = None) -> None:
        self._state_file = state_file
        self._last_id = 0
        self._is_changed = False
        self._writing = threading.Lock()
        self._listeners: list[Callable[[Event], None]] = []
        self._nonces: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self.users: dict[str, Object] = {user["id"]: user for user in cast.users()}
        self.guilds: dict[str, Object] = {guild["id"]: guild for guild in cast.guilds()}
        self.channels: dict[str, Object] = {channel["id"]: channel for channel in cast.channels()}
        self.messages: dict[str, OrderedDict[str, Object]] = {}
        self.commands: list[Object] = []
        self.files = AttachedFiles(state_file.with_suffix(".files") if state_file else None)
        # Faults: channels in which the bot may not write.
        self.forbidden_channels: set[str] = set()
        self._load()

    @property
    def bot(self) -> Object:
        """The bot's user."""
        return self.users[cast.BOT_ID]

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have every event told."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        """Tell the listeners."""
        self._is_changed = True
        for listener in self._listeners:
            listener(event)

    def new_id(self) -> str:
        """A snowflake: milliseconds since Discord's epoch, then a counter."""
        self._last_id = max(snowflake_now(), self._last_id + 1)
        return str(self._last_id)

    def is_member(self, guild_id: str, user_id: str) -> bool:
        """Whether a user is in a guild."""
        return any(member["user"]["id"] == user_id for member in self.guilds[guild_id]["members"])

    def member(self, guild_id: str, user_id: str) -> Object:
        """A guild's member object."""
        for member in self.guilds[guild_id]["members"]:
            if member["user"]["id"] == user_id:
                found: Object = member
                return found
        raise KeyError(user_id)

    def permissions(self, guild_id: str, user_id: str) -> int:
        """The permission bits of a member."""
        roles = {role["id"]: int(role["permissions"]) for role in self.guilds[guild_id]["roles"]}
        bits = roles[guild_id]
        for role_id in self.member(guild_id, user_id)["roles"]:
            bits |= roles[role_id]
        return bits

    def permissions_in(self, channel: Object, user_id: str) -> int:
        """The permission bits of a member in a channel of a guild, or in a thread of one."""
        bits = self.permissions(channel["guild_id"], user_id)
        above = self.channels.get(channel["parent_id"] or "", channel)
        for overwrite in above["permission_overwrites"]:
            if overwrite["id"] == user_id:
                bits = bits & ~int(overwrite["deny"]) | int(overwrite["allow"])
        is_forbidden = user_id == cast.BOT_ID and channel["id"] in self.forbidden_channels
        return bits & ~cast.SEND_MESSAGES if is_forbidden else bits

    def bot_may_write(self, channel: Object) -> bool:
        """Whether the bot may post in a channel that it sees."""
        if channel["type"] == DIRECT:
            return channel["id"] not in self.forbidden_channels
        return bool(self.permissions_in(channel, cast.BOT_ID) & cast.SEND_MESSAGES)

    def may_see(self, user_id: str, channel: Object) -> bool:
        """Whether a user sees a channel."""
        if channel["type"] == DIRECT:
            return user_id in (cast.BOT_ID, channel["recipients"][0]["id"])
        return channel["guild_id"] in self.guilds and self.is_member(channel["guild_id"], user_id)

    def visible_channels(self, user_id: str) -> list[Object]:
        """The channels that a user sees."""
        return [c for c in self.channels.values() if self.may_see(user_id, c)]

    def open_direct(self, user_id: str) -> Object:
        """The direct channel of a user with the bot."""
        for channel in self.channels.values():
            if channel["type"] == DIRECT and channel["recipients"][0]["id"] == user_id:
                return channel
        channel = {
            "id": self.new_id(),
            "type": DIRECT,
            "last_message_id": None,
            "recipients": [self.users[user_id]],
        }
        self.channels[channel["id"]] = channel
        self.emit(Event("CHANNEL_CREATE", channel, channel_id=channel["id"]))
        return channel

    def open_thread(self, parent_id: str, owner_id: str, name: str, from_id: str | None) -> Object:
        """A public thread below a text channel."""
        parent = self.channels[parent_id]
        thread = cast.channel(from_id or self.new_id(), parent["guild_id"], name, PUBLIC_THREAD)
        thread |= {
            "parent_id": parent_id,
            "owner_id": owner_id,
            "message_count": 0,
            "member_count": 1,
            "thread_metadata": {
                "archived": False,
                "auto_archive_duration": 1440,
                "archive_timestamp": now_iso(),
                "locked": False,
            },
        }
        self.channels[thread["id"]] = thread
        self.emit(
            Event("THREAD_CREATE", {**thread, "newly_created": True}, parent["guild_id"], parent_id)
        )
        return thread

    def post(
        self,
        channel_id: str,
        author_id: str,
        content: str,
        *,
        only_user_id: str | None = None,
        nonce: str | None = None,
        is_nonce_enforced: bool = False,
        **more: Any,
    ) -> Object:
        """Put a message into a channel and tell everybody who may see it."""
        key = (channel_id, author_id, nonce or "")
        if nonce and is_nonce_enforced and key in self._nonces:
            known = self.messages[channel_id].get(self._nonces[key])
            if known is not None:
                return known
        message = self._make_message(channel_id, author_id, content, more)
        if only_user_id is not None:
            message["flags"] |= EPHEMERAL
            message["only_user_id"] = only_user_id
        history = self.messages.setdefault(channel_id, OrderedDict())
        history[message["id"]] = message
        while len(history) > _MESSAGES_KEPT:
            history.popitem(last=False)
        if nonce:
            self._nonces[key] = message["id"]
            if len(self._nonces) > _NONCES_KEPT:
                self._nonces.popitem(last=False)
        told = {**message, "nonce": nonce} if nonce else message
        self._tell("MESSAGE_CREATE", told, only_user_id)
        return told

    def say(self, user_id: str, channel_id: str, text: str, **more: Any) -> Object:
        """A person says something: mentions are read from the text."""
        return self.post(channel_id, user_id, text, mentions=self.mentioned(text, more), **more)

    def mentioned(self, text: str, more: Object) -> list[Object]:
        """The users that a text mentions, and the author of the message that it replies to."""
        users = [u for u in self.users.values() if f"<@{u['id']}>" in text]
        replied = (more.get("referenced_message") or {}).get("author")
        return users + ([replied] if replied and replied not in users else [])

    def edit(self, message: Object, changes: Object) -> Object:
        """Change a message in place."""
        message.update(changes)
        message["edited_timestamp"] = now_iso()
        self._tell("MESSAGE_UPDATE", message, message.get("only_user_id"))
        return message

    def delete(self, channel_id: str, message_id: str) -> bool:
        """Delete a message; False where it is not there."""
        message = self.messages.get(channel_id, OrderedDict()).pop(message_id, None)
        if message is None:
            return False
        channel = self.channels[channel_id]
        data = {"id": message_id, "channel_id": channel_id}
        if channel.get("guild_id"):
            data["guild_id"] = channel["guild_id"]
        self.emit(
            Event(
                "MESSAGE_DELETE",
                data,
                channel.get("guild_id"),
                channel_id,
                message.get("only_user_id"),
            )
        )
        return True

    def find(self, channel_id: str, message_id: str) -> Object | None:
        """A message, if it is there."""
        return self.messages.get(channel_id, OrderedDict()).get(message_id)

    def history(self, channel_id: str, user_id: str) -> list[Object]:
        """What a user sees of a channel, oldest first."""
        return [
            m
            for m in self.messages.get(channel_id, OrderedDict()).values()
            if m.get("only_user_id") in (None, user_id)
        ]

    def bot_guilds(self) -> list[Object]:
        """The guilds that the bot is in."""
        return [guild for guild in self.guilds.values() if self.is_member(guild["id"], cast.BOT_ID)]

    def remove_bot(self, guild_id: str) -> None:
        """The bot is removed from a guild; nothing happens where it is not in it."""
        guild = self.guilds[guild_id]
        if not self.is_member(guild_id, cast.BOT_ID):
            return
        guild["members"] = [m for m in guild["members"] if m["user"]["id"] != cast.BOT_ID]
        guild["member_count"] = len(guild["members"])
        self.emit(Event("GUILD_DELETE", {"id": guild_id}, guild_id))
        self._tell_page_of_bot(guild_id, is_there=False)

    def invite_bot(self, guild_id: str) -> None:
        """The bot comes into a guild; nothing happens where it is in it."""
        if self.is_member(guild_id, cast.BOT_ID):
            return
        guild = self.guilds[guild_id]
        guild["members"].insert(0, cast.member(self.bot, []))
        guild["member_count"] = len(guild["members"])
        self.emit(Event("GUILD_CREATE", self.with_channels(guild), guild_id))
        self._tell_page_of_bot(guild_id, is_there=True)

    def with_channels(self, guild: Object) -> Object:
        """A guild as the gateway tells of it."""
        own = [c for c in self.channels.values() if c.get("guild_id") == guild["id"]]
        return {
            **guild,
            "channels": [c for c in own if "thread_metadata" not in c],
            "threads": [c for c in own if "thread_metadata" in c],
        }

    def _tell_page_of_bot(self, guild_id: str, *, is_there: bool) -> None:
        data = {"guild_id": guild_id, "has_bot": is_there}
        self.emit(Event("PAGE_GUILD_BOT", data, guild_id))

    def save(self) -> None:
        """Write the state to its file, if it changed."""
        state = self.take_changes()
        if state is not None:
            self.write(state)

    def take_changes(self) -> Object | None:
        """The state as it is now, for :meth:`write`; None where it did not change meanwhile."""
        if self._state_file is None or not self._is_changed:
            return None
        self._is_changed = False
        # Messages are changed by giving them new values, so a shallow copy of each stands still.
        kept = {
            channel_id: [dict(m) for m in history.values() if not m["flags"] & EPHEMERAL]
            for channel_id, history in self.messages.items()
        }
        channels = {channel_id: dict(channel) for channel_id, channel in self.channels.items()}
        here = {guild["id"] for guild in self.bot_guilds()}
        return {
            "last_id": self._last_id,
            "channels": channels,
            "messages": kept,
            "left_guilds": [guild_id for guild_id in self.guilds if guild_id not in here],
        }

    def write(self, state: Object) -> None:
        """Write a state to the file, whole or not at all; in any thread.

        Raises:
            OSError: it cannot be written; it counts as changed again.
        """
        if self._state_file is None:
            return
        partial = self._state_file.with_suffix(".partial")
        try:
            with self._writing:
                partial.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("w", encoding="utf-8") as file:
                    file.writelines(written(state))
                    file.flush()
                    os.fsync(file.fileno())
                partial.rename(self._state_file)
        except OSError:
            self._is_changed = True
            raise

    def drop_unused_files(self) -> None:
        """Delete the files of deleted messages, and of commands that nobody can answer any more."""
        self.files.drop_unused(set(self._attached()), ANSWERABLE_SECONDS)

    def _attached(self) -> dict[str, str]:
        """The content types of the files of all messages, by path."""
        return {
            AttachedFiles.path_of(file["url"]): file["content_type"]
            for history in self.messages.values()
            for message in history.values()
            for file in message["attachments"]
        }

    def _load(self) -> None:
        if self._state_file is None or not self._state_file.exists():
            return
        state = json.loads(self._state_file.read_text(encoding="utf-8"))
        self._last_id = state["last_id"]
        self.channels |= state["channels"]
        for guild_id in state.get("left_guilds", []):
            self.remove_bot(guild_id)
        self.messages = {
            channel_id: OrderedDict((m["id"], m) for m in messages)
            for channel_id, messages in state["messages"].items()
        }
        self.files.recall(self._attached())

    def _tell(self, name: str, message: Object, only_user_id: str | None) -> None:
        channel = self.channels[message["channel_id"]]
        guild_id = channel.get("guild_id")
        data = message
        if guild_id is not None:
            author_id = message["author"]["id"]
            data = {**message, "guild_id": guild_id}
            if guild_id in self.guilds and self.is_member(guild_id, author_id):
                member = self.member(guild_id, author_id)
                data["member"] = {k: v for k, v in member.items() if k != "user"}
        self.emit(Event(name, data, guild_id, message["channel_id"], only_user_id))

    def _make_message(self, channel_id: str, author_id: str, content: str, more: Object) -> Object:
        message: Object = {
            "id": self.new_id(),
            "channel_id": channel_id,
            "author": self.users[author_id],
            "content": content,
            "timestamp": now_iso(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "components": [],
            "reactions": [],
            "pinned": False,
            "type": 0,
            "flags": 0,
            **more,
        }
        if message.get("referenced_message"):
            message["type"] = 19
        self.channels[channel_id]["last_message_id"] = message["id"]
        return message
