"""``/finetune``: a server teaches its own model. Translates and delegates."""

import discord
from discord import app_commands
from discord.ext import commands

from bot.catalogue import Catalogue
from bot.chat.places import Places
from bot.finetune.starting import FinetuneStarter
from bot.finetune.upload_modal import NAME_LENGTH
from bot.finetune.wishes import StartWishes
from bot.translation import text
from core.catalog.bases import list_bases
from core.corpora.searches import DEFAULT_TRIALS, MOST_TRIALS, Sampler, SearchSpec
from core.db.desk import Desk

_MOST_CHOICES = 25
_OPTIONS = (
    "file", "name", "rights", "base", "method", "epochs", "learning_rate", "block_size",
    "batch_size", "validation_file", "validation_percent", "patience", "seed", "prompts",
    "file2", "file3", "file4", "file5", "trials", "sampler",
)  # fmt: skip
_START_OPTIONS = _OPTIONS[:-2]
_SEARCH_OPTIONS = (
    "file", "name", "rights", "trials", "sampler", "base", "method", "epochs", "seed", "prompts",
)  # fmt: skip


def make_finetune_cog(
    catalogue: Catalogue,
    desk: Desk,
    places: Places,
    starter: FinetuneStarter,
) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""
    names = {option: text(catalogue, f"option-finetune-{_key(option)}-name") for option in _OPTIONS}
    hints = {option: text(catalogue, f"option-finetune-{_key(option)}") for option in _OPTIONS}
    methods = [
        app_commands.Choice(name=text(catalogue, f"method-{method}"), value=method)
        for method in ("lora", "full")
    ]
    samplers = [
        app_commands.Choice(name=text(catalogue, f"sampler-{sampler}"), value=str(sampler))
        for sampler in Sampler
    ]

    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    class FinetuneCog(
        commands.GroupCog,
        group_name=text(catalogue, "command-finetune-name"),
        group_description=text(catalogue, "command-finetune"),
    ):
        """What an admin does to teach."""

        async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
            """Only who may teach; what Discord hides from others can still be sent."""
            places.require_teacher(interaction)
            return True

        @app_commands.command(
            name=text(catalogue, "command-finetune-start-name"),
            description=text(catalogue, "command-finetune-start"),
        )
        @app_commands.rename(**{option: names[option] for option in _START_OPTIONS})
        @app_commands.describe(**{option: hints[option] for option in _START_OPTIONS})
        @app_commands.choices(method=methods)
        async def start(
            self,
            interaction: discord.Interaction,
            file: discord.Attachment | None = None,
            name: app_commands.Range[str, 1, NAME_LENGTH] | None = None,
            rights: bool | None = None,
            base: str | None = None,
            method: app_commands.Choice[str] | None = None,
            epochs: app_commands.Range[float, 0.1, 100.0] | None = None,
            learning_rate: app_commands.Range[float, 0.0, 0.01] | None = None,
            block_size: app_commands.Range[int, 16, 8192] | None = None,
            batch_size: app_commands.Range[int, 1, 512] | None = None,
            validation_file: discord.Attachment | None = None,
            validation_percent: app_commands.Range[int, 0, 50] | None = None,
            patience: app_commands.Range[int, 0, 100] | None = None,
            seed: app_commands.Range[int, 0, 2**32 - 1] | None = None,
            prompts: app_commands.Range[str, 1, 1000] | None = None,
            file2: discord.Attachment | None = None,
            file3: discord.Attachment | None = None,
            file4: discord.Attachment | None = None,
            file5: discord.Attachment | None = None,
        ) -> None:
            """Take a corpus in, or show the form for it; the report follows in the channel."""
            wishes = StartWishes(
                base=base,
                method=method.value if method else None,
                epochs=epochs,
                learning_rate=learning_rate,
                block_size=block_size,
                batch_size=batch_size,
                validation_percent=validation_percent,
                validation_file=validation_file,
                patience=patience,
                seed=seed,
                prompts=prompts,
            )
            files = [a for a in (file, file2, file3, file4, file5) if a is not None]
            await starter.ask_or_begin(interaction, wishes, files, name, has_rights=bool(rights))

        @app_commands.command(
            name=text(catalogue, "command-finetune-search-name"),
            description=text(catalogue, "command-finetune-search"),
        )
        @app_commands.rename(**{option: names[option] for option in _SEARCH_OPTIONS})
        @app_commands.describe(**{option: hints[option] for option in _SEARCH_OPTIONS})
        @app_commands.choices(method=methods, sampler=samplers)
        async def search(
            self,
            interaction: discord.Interaction,
            file: discord.Attachment | None = None,
            name: app_commands.Range[str, 1, NAME_LENGTH] | None = None,
            rights: bool | None = None,
            trials: app_commands.Range[int, 2, MOST_TRIALS] = DEFAULT_TRIALS,
            sampler: app_commands.Choice[str] | None = None,
            base: str | None = None,
            method: app_commands.Choice[str] | None = None,
            epochs: app_commands.Range[float, 0.1, 100.0] | None = None,
            seed: app_commands.Range[int, 0, 2**32 - 1] | None = None,
            prompts: app_commands.Range[str, 1, 1000] | None = None,
        ) -> None:
            """Train several times with other options, and keep the best."""
            chosen = method.value if method else "lora"
            how = sampler.value if sampler else Sampler.BAYESIAN
            wishes = StartWishes(
                base=base,
                method=chosen,
                epochs=epochs,
                seed=seed,
                prompts=prompts,
                search=SearchSpec.make(trials=trials, sampler=how, method=chosen),
            )
            files = [] if file is None else [file]
            await starter.ask_or_begin(interaction, wishes, files, name, has_rights=bool(rights))

        @search.autocomplete("base")
        @start.autocomplete("base")
        async def complete_base(
            self, interaction: discord.Interaction, current: str
        ) -> list[app_commands.Choice[str]]:
            """The base models that this server may build on."""
            if not places.may_teach(interaction):
                return []
            bases = await desk.read(lambda session: list_bases(session, interaction.guild_id))
            found = [base.model for base in bases if current.lower() in base.model.lower()]
            return [
                app_commands.Choice(name=model[:100], value=model) for model in dict.fromkeys(found)
            ][:_MOST_CHOICES]

    return FinetuneCog()


def _key(option: str) -> str:
    return option.replace("_", "-")
