"""The loss curve of a fine-tune, for those who ask for the job."""

import asyncio

import discord

from bot.catalogue import Catalogue
from bot.finetune.board_poster import PICTURE, attached
from bot.finetune.curve_picture import draw_curve
from bot.finetune.run_progress import curve_labels
from core.corpora.curves import read_curve
from core.db.desk import Desk
from core.jobs.queries import JobDetail
from core.jobs.states import JobKind


async def add_course(
    catalogue: Catalogue, desk: Desk, locale: str, detail: JobDetail, embed: discord.Embed
) -> list[discord.File]:
    """Put the course of a run into its embed.

    Args:
        catalogue, locale: the language of the picture.
        desk: to read the evaluations with.
        detail: of any job, read within the asker's wall.
        embed: gets the picture.

    Returns:
        What must be attached to the message: one picture, or nothing where there is no course.

    Raises:
        SQLAlchemyError: the database cannot be reached.
    """
    job = detail.summary
    if job.kind is not JobKind.FINETUNE:
        return []
    curve = await desk.read(lambda session: read_curve(session, job.id))
    points = (*curve.train, *curve.validation)
    if not points:
        return []
    planned = job.progress.get("steps") or (detail.result.get("metrics") or {}).get("steps")
    steps = max(int(planned or 0), *(step for step, _ in points), 1)
    picture = await asyncio.to_thread(draw_curve, curve, curve_labels(catalogue, locale), steps)
    embed.set_image(url=f"attachment://{PICTURE}")
    return attached(picture)
