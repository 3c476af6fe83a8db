"""Who and what is in the playground when it opens."""

from typing import Any

Object = dict[str, Any]

BOT_ID = "1000"
ALICE, BRUNO, CAMILLE = "1001", "1002", "1003"
PERROQUET_GUILD, AVIARY_GUILD = "2000", "2100"
GENERAL, FRENCH, RANDOM, MUTE, SALON = "3000", "3001", "3002", "3003", "3100"

# View, send (in threads too), read history, embed, attach, react, use commands, make threads.
_EVERYONE = 1 << 10 | 1 << 11 | 1 << 38 | 1 << 16 | 1 << 14 | 1 << 15 | 1 << 6 | 1 << 31 | 1 << 35
SEND_MESSAGES = 1 << 11 | 1 << 38
MANAGE_GUILD = 1 << 5
# Manage server, channels, messages.
_ADMIN = MANAGE_GUILD | 1 << 4 | 1 << 13
_JOINED = "2024-01-01T00:00:00+00:00"


def users() -> list[Object]:
    """Two members, an admin, and the bot."""
    return [
        _user(BOT_ID, "perroquet", "Perroquet", "#2f9e62", is_bot=True),
        _user(ALICE, "alice", "Alice", "#d9480f"),
        _user(BRUNO, "bruno", "Bruno", "#1c7ed6"),
        _user(CAMILLE, "camille", "Camille", "#9c36b5"),
    ]


def guilds() -> list[Object]:
    """A server for everybody, and one in which only Bruno is, as its admin."""
    everybody = {BOT_ID: False, ALICE: False, BRUNO: False, CAMILLE: True}
    return [
        guild(PERROQUET_GUILD, "Perroquet", everybody, owner_id=CAMILLE),
        guild(AVIARY_GUILD, "Volière", {BOT_ID: False, BRUNO: True}, owner_id=BRUNO),
    ]


def channels() -> list[Object]:
    """The text channels of both; in one of them the bot may read but not write."""
    hush = {"id": BOT_ID, "type": 1, "allow": "0", "deny": str(SEND_MESSAGES)}
    return [
        channel(GENERAL, PERROQUET_GUILD, "general"),
        channel(FRENCH, PERROQUET_GUILD, "français"),
        channel(RANDOM, PERROQUET_GUILD, "random"),
        channel(MUTE, PERROQUET_GUILD, "no-parrots") | {"permission_overwrites": [hush]},
        channel(SALON, AVIARY_GUILD, "salon"),
    ]


def channel(channel_id: str, guild_id: str, name: str, channel_type: int = 0) -> Object:
    """A channel of a guild, in Discord's shape."""
    return {
        "id": channel_id,
        "type": channel_type,
        "guild_id": guild_id,
        "name": name,
        "position": int(channel_id) % 100,
        "permission_overwrites": [],
        "parent_id": None,
        "nsfw": False,
        "topic": None,
        "rate_limit_per_user": 0,
        "last_message_id": None,
    }


def is_admin(user_id: str) -> bool:
    """Whether somebody is an admin of the first guild."""
    return user_id == CAMILLE


def _user(user_id: str, username: str, name: str, colour: str, *, is_bot: bool = False) -> Object:
    return {
        "id": user_id,
        "username": username,
        "global_name": name,
        "discriminator": "0000" if is_bot else "0",
        "avatar": None,
        "bot": is_bot,
        "public_flags": 0,
        "flags": 0,
        "avatar_color": colour,
    }


def guild(guild_id: str, name: str, members: dict[str, bool], owner_id: str) -> Object:
    """A server in Discord's shape. ``members`` says of each user whether it is an admin."""
    by_id = {user["id"]: user for user in users()}
    admin_role = str(int(guild_id) + 1)
    roles = [
        _role(guild_id, "@everyone", _EVERYONE),
        _role(admin_role, "Admin", _EVERYONE | _ADMIN),
    ]
    return {
        "id": guild_id,
        "name": name,
        "icon": None,
        "owner_id": owner_id,
        "roles": roles,
        "members": [
            member(by_id[user_id], [admin_role] if is_boss else [])
            for user_id, is_boss in members.items()
        ],
        "member_count": len(members),
        "emojis": [],
        "stickers": [],
        "features": [],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "large": False,
        "unavailable": False,
        "joined_at": _JOINED,
        "preferred_locale": "en-US",
        "verification_level": 0,
        "default_message_notifications": 1,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "premium_progress_bar_enabled": False,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "safety_alerts_channel_id": None,
        "afk_channel_id": None,
        "afk_timeout": 300,
        "application_id": None,
        "vanity_url_code": None,
        "description": None,
        "banner": None,
    }


def _role(role_id: str, name: str, permissions: int) -> Object:
    return {
        "id": role_id,
        "name": name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "position": 0 if name == "@everyone" else 1,
        "permissions": str(permissions),
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def member(user: Object, roles: list[str]) -> Object:
    """A member of a guild, in Discord's shape."""
    return {
        "user": user,
        "nick": None,
        "roles": roles,
        "joined_at": _JOINED,
        "deaf": False,
        "mute": False,
        "flags": 0,
    }
