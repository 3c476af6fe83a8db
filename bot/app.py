"""Composition of the bot process: every part is built here and handed to who needs it."""

import asyncio
import os
import socket
import time
from importlib.metadata import version

from bot.catalogue import Catalogue
from bot.chat.cog import ChatCog
from bot.chat.delay import DelayFinder
from bot.chat.intake import ChatIntake
from bot.chat.limits import Bounds, ChatLimits
from bot.chat.live_reply import TYPING_LASTS_SECONDS, ReplyTools
from bot.chat.pacing import EditPacer
from bot.chat.places import Places
from bot.chat.poster import DiscordPoster
from bot.chat.reply_keeper import ReplyKeeper
from bot.client import PerroquetBot
from bot.finetune.parts import FinetuneParts
from bot.guilds import GuildsCog
from bot.health.cog import make_health_cog
from bot.health.monitoring import BotMonitoring, make_request_trace
from bot.heartbeat import Heartbeat
from bot.identifying import IdentifyTurns
from bot.jobs.parts import JobsParts
from bot.models.cog import make_models_cog
from bot.models.comparer import Comparer
from bot.models.exporter import Exporter
from bot.patience import keep_trying
from bot.privacy.cog import make_privacy_cog
from bot.settings.cog import make_settings_cog
from bot.taking_over import TakingOver
from bot.translation import CatalogueTranslator
from core.catalog.exporting import VersionFiles
from core.db.desk import Desk
from core.db.engines import make_engine
from core.settings import ChatSettings, Settings
from core.sharding import Share
from core.transport.courier import make_publishing_celery
from core.transport.publisher import Publisher
from core.transport.stream_reader import StreamReader, make_reading_client


def build_bot(settings: Settings) -> PerroquetBot:
    """Build the bot and all its parts. Connects to nothing yet."""
    share = Share.of(settings.discord.process_name, settings.discord.shards)
    name = share.process_name
    engine = make_engine(settings.database_url, pool_size=settings.database.pool_size)
    desk = Desk(engine)
    publisher = Publisher(make_publishing_celery(settings), desk)
    redis_client = make_reading_client(settings.redis.url)
    reader = StreamReader(redis_client, settings.redis.key_prefix, share.names)
    catalogue = Catalogue.load()
    bot = PerroquetBot(
        catalogue,
        CatalogueTranslator(catalogue),
        make_request_trace(),
        share,
        IdentifyTurns(redis_client, settings.redis.key_prefix),
    )
    tools = ReplyTools(
        desk,
        DiscordPoster(bot),
        EditPacer(settings.chat.edit_interval_seconds, time.perf_counter),
        EditPacer(TYPING_LASTS_SECONDS, time.perf_counter),
        catalogue,
        DelayFinder(desk, lambda: reader.is_reachable),
        settings.chat.delayed_after_seconds,
    )
    keeper = ReplyKeeper(tools, reader, share.names, settings.chat.sweep_interval_seconds)
    places = Places(desk, settings.discord.default_locale)
    intake = ChatIntake(desk, publisher, keeper, share, settings.generation.model)
    comparer = Comparer(desk, publisher, places, catalogue)
    exporter = Exporter(desk, VersionFiles(settings.store_url), catalogue)
    finetunes = FinetuneParts(
        settings, bot, catalogue, desk, publisher, places, comparer, exporter, share
    )
    jobs = JobsParts(settings, bot, catalogue, desk, publisher)
    taking_over = TakingOver(desk, share)
    heartbeat = Heartbeat(
        desk,
        f"bot-{name}-{socket.gethostname()[:40]}-{os.getpid()}",
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": version("perroquet"),
            "shards": settings.discord.shards,
        },
    )

    chat = ChatCog(
        bot,
        intake,
        places,
        desk,
        catalogue,
        settings.chat.message_max_characters,
        make_limits(settings.chat),
    )
    monitoring = BotMonitoring(settings, engine, bot)
    refreshing: list[asyncio.Task[None]] = []

    async def start() -> None:
        monitoring.start()
        desk.start()
        publisher.start()
        await keep_trying(places.refresh)
        refreshing.append(asyncio.create_task(places.refresh_for_ever()))
        await bot.add_cog(chat)
        await bot.add_cog(make_settings_cog(catalogue, desk, places))
        await bot.add_cog(make_privacy_cog(catalogue, desk))
        await bot.add_cog(
            make_health_cog(catalogue, desk, publisher, reader, settings.generation.model)
        )
        await bot.add_cog(
            make_models_cog(catalogue, desk, places, comparer, exporter, settings.generation.model)
        )
        await bot.add_cog(GuildsCog(bot, desk, share))
        await finetunes.start()
        await jobs.start()
        await keep_trying(taking_over.look)
        taking_over.start()
        keeper.start()
        heartbeat.start()

    async def close() -> None:
        for task in refreshing:
            task.cancel()
        await chat.finish(settings.ledger.drain_seconds)
        await heartbeat.close()
        await taking_over.close()
        await keeper.close()
        await finetunes.close()
        await jobs.close()
        publisher.close()
        desk.close()
        await monitoring.close()
        await redis_client.aclose()
        engine.dispose()

    bot.starters = (start,)
    bot.closers = (close,)
    return bot


def make_limits(chat: ChatSettings) -> ChatLimits:
    """The bounds of members and guilds that the settings name."""
    return ChatLimits(
        Bounds(chat.member_max_in_flight, chat.member_max_per_minute),
        Bounds(chat.guild_max_in_flight, chat.guild_max_per_minute),
        time.monotonic,
    )
