"""``/perroquet help``: what the bot can do for who asks, and nothing that they may not do."""

import discord

from bot.catalogue import Catalogue, locale_code
from bot.chat.places import Places


def draw_help(
    catalogue: Catalogue, places: Places, interaction: discord.Interaction
) -> discord.Embed:
    """How to talk, then the commands that the asker's permissions open here."""
    locale = locale_code(str(interaction.locale))
    embed = discord.Embed(
        title=catalogue.say(locale, "help-title"),
        description=catalogue.say(locale, "help-text"),
        colour=discord.Colour.green(),
    )
    for part in _parts(places, interaction):
        embed.add_field(
            name=catalogue.say(locale, f"help-{part}-title"),
            value=catalogue.say(locale, f"help-{part}"),
            inline=False,
        )
    return embed


def _parts(places: Places, interaction: discord.Interaction) -> list[str]:
    if interaction.guild_id is None:
        return []
    may = interaction.permissions
    opened = {
        "channel": may.manage_channels,
        "messages": may.manage_messages,
        "teaching": places.may_teach(interaction),
        "server": may.manage_guild,
    }
    return [part for part, is_open in opened.items() if is_open]
