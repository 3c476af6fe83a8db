"""What the bot asks of a server, and the link that asks for it."""

import discord

# View channels and their history, write (also in threads), with embeds and pictures: nothing else.
LEAST_PERMISSIONS = discord.Permissions(
    view_channel=True,
    read_message_history=True,
    send_messages=True,
    send_messages_in_threads=True,
    embed_links=True,
    attach_files=True,
)


def invite_url(application_id: int) -> str:
    """The link by which an admin invites the bot, with the least that it needs."""
    return discord.utils.oauth_url(
        application_id,
        permissions=LEAST_PERMISSIONS,
        scopes=("bot", "applications.commands"),
    )


def missing_permissions(granted: int) -> list[str]:
    """What of the least is not among the permission bits granted, by Discord's names."""
    has = discord.Permissions(granted)
    if has.administrator:
        return []
    return [name for name, needed in LEAST_PERMISSIONS if needed and not getattr(has, name)]
