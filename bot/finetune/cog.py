"""``/finetune start``: a server teaches its own model. Translates and delegates."""

import discord
import structlog
from discord import app_commands
from discord.ext import commands
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue, LocaleCode, locale_code
from bot.chat.places import Places
from bot.finetune.board_keeper import BoardKeeper
from bot.finetune.downloading import Attached
from bot.finetune.failures import say_refusal
from bot.finetune.intake import FinetuneIntake, FinetuneRequest
from bot.translation import text
from core.catalog.bases import list_bases
from core.conversations.places import Place
from core.db.desk import Desk
from core.errors import PerroquetError

log = structlog.get_logger(__name__)

_MOST_CHOICES = 25
_MOST_PROMPTS = 5
_PROMPT_CHARACTERS = 200
_NEEDED = discord.Permissions(
    view_channel=True, send_messages=True, embed_links=True, attach_files=True
)
_OPTIONS = (
    "file", "name", "rights", "base", "method", "epochs", "learning_rate", "seed", "prompts",
    "file2", "file3", "file4", "file5",
)  # fmt: skip


def make_finetune_cog(
    catalogue: Catalogue,
    desk: Desk,
    places: Places,
    intake: FinetuneIntake,
    keeper: BoardKeeper,
) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""
    names = {option: text(catalogue, f"option-finetune-{_key(option)}-name") for option in _OPTIONS}
    hints = {option: text(catalogue, f"option-finetune-{_key(option)}") for option in _OPTIONS}
    methods = [
        app_commands.Choice(name=text(catalogue, f"method-{method}"), value=method)
        for method in ("lora", "full")
    ]

    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    class FinetuneCog(
        commands.GroupCog,
        group_name=text(catalogue, "command-finetune-name"),
        group_description=text(catalogue, "command-finetune"),
    ):
        """What an admin does to teach."""

        @app_commands.command(
            name=text(catalogue, "command-finetune-start-name"),
            description=text(catalogue, "command-finetune-start"),
        )
        @app_commands.checks.has_permissions(manage_guild=True)
        @app_commands.rename(**names)
        @app_commands.describe(**hints)
        @app_commands.choices(method=methods)
        async def start(
            self,
            interaction: discord.Interaction,
            file: discord.Attachment,
            name: app_commands.Range[str, 1, 60],
            rights: bool,
            base: str | None = None,
            method: app_commands.Choice[str] | None = None,
            epochs: app_commands.Range[float, 0.1, 100.0] = 3.0,
            learning_rate: app_commands.Range[float, 0.0, 0.01] = 0.0,
            seed: app_commands.Range[int, 0, 2**32 - 1] = 0,
            prompts: app_commands.Range[str, 1, 1000] | None = None,
            file2: discord.Attachment | None = None,
            file3: discord.Attachment | None = None,
            file4: discord.Attachment | None = None,
            file5: discord.Attachment | None = None,
        ) -> None:
            """Take a corpus in; its report follows in the channel."""
            locale = locale_code(str(interaction.locale))
            if not rights:
                await _refuse(interaction, catalogue.say(locale, "finetune-rights-missing"))
                return
            if not interaction.app_permissions.is_superset(_NEEDED):
                await _refuse(interaction, catalogue.say(locale, "finetune-cannot-write"))
                return
            # Downloads may outlast the three seconds that Discord waits for an answer.
            await interaction.response.defer(ephemeral=True, thinking=True)
            options = {
                "method": method.value if method else "lora",
                "epochs": float(epochs),
                "learning_rate": float(learning_rate),
                "seed": seed,
                "sample_prompts": split_prompts(prompts or ""),
            }
            attached = [a for a in (file, file2, file3, file4, file5) if a is not None]
            request = FinetuneRequest(
                place=place_of(interaction, places),
                requester_id=interaction.user.id,
                name=name,
                base=base,
                options=options,
                attached=tuple(Attached(a.filename, a.url, a.size) for a in attached),
            )
            sentence = await take(request, locale)
            keeper.wake()
            try:
                await interaction.followup.send(sentence, ephemeral=True)
            except discord.HTTPException as exc:
                # After a quarter of an hour the token is dead; the board says all that matters.
                log.info("finetune_answer_late", code=exc.code)

        @start.autocomplete("base")
        async def complete_base(
            self, interaction: discord.Interaction, current: str
        ) -> list[app_commands.Choice[str]]:
            """The base models that this server may build on."""
            if not interaction.permissions.manage_guild:
                return []
            bases = await desk.read(lambda session: list_bases(session, interaction.guild_id))
            found = [base.model for base in bases if current.lower() in base.model.lower()]
            return [
                app_commands.Choice(name=model[:100], value=model) for model in dict.fromkeys(found)
            ][:_MOST_CHOICES]

    async def take(request: FinetuneRequest, locale: LocaleCode) -> str:
        try:
            await intake.take(request)
        except PerroquetError as exc:
            return say_refusal(catalogue, locale, exc)
        except SQLAlchemyError:
            return catalogue.say(locale, "error-service-unavailable")
        return catalogue.say(locale, "finetune-taken-in", count=len(request.attached))

    return FinetuneCog()


def place_of(interaction: discord.Interaction, places: Places) -> Place:
    """Where an interaction happens, with the language that its guild chose."""
    guild = interaction.guild
    if guild is None:
        raise app_commands.NoPrivateMessage
    return Place(interaction.channel_id or 0, guild.id, guild.name, places.locale_of(guild))


def split_prompts(given: str) -> list[str]:
    """What to ask at each evaluation: the parts between vertical bars."""
    parts = (" ".join(part.split())[:_PROMPT_CHARACTERS] for part in given.split("|"))
    return [part for part in parts if part][:_MOST_PROMPTS]


async def _refuse(interaction: discord.Interaction, sentence: str) -> None:
    await interaction.response.send_message(sentence, ephemeral=True)


def _key(option: str) -> str:
    return option.replace("_", "-")
