"""What each button of a board does, behind the wall of its guild."""

from collections.abc import Callable

import discord
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from bot.finetune.actions import Action
from bot.finetune.intake import FinetuneIntake
from core.corpora.submissions import cancel_finetune, start_finetune
from core.db.desk import Desk
from core.db.tables import Job
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.jobs.steering import pause, resume, stop_early
from core.transport.publisher import Publisher

_CHANGES: dict[Action, Callable[[Session, str, ColumnElement[bool]], bool]] = {
    Action.START: start_finetune,
    Action.PAUSE: pause,
    Action.RESUME: resume,
    Action.STOP: stop_early,
}


class BoardPresser:
    """Does what buttons say. A button of another guild's fine-tune finds nothing."""

    def __init__(self, desk: Desk, publisher: Publisher, intake: FinetuneIntake) -> None:
        self._desk = desk
        self._publisher = publisher
        self._intake = intake
        # Is called once something was changed; the boards draw their buttons, so they come later.
        self.on_change: Callable[[], None] = lambda: None

    async def press(self, interaction: discord.Interaction, action: Action, job_id: str) -> None:
        """Do it; the board then shows what became of it.

        Raises:
            NotFoundError: the fine-tune is not of this guild.
            NotReadYetError: Start came before the report.
            SQLAlchemyError: the database cannot be reached.
        """
        await interaction.response.defer()
        is_of_guild = Job.guild_id == interaction.guild_id
        if action in _CHANGES:
            is_changed = await self._desk.write(
                lambda session: _CHANGES[action](session, job_id, is_of_guild)
            )
            if is_changed and action is not Action.PAUSE:
                # A second hint for a job that runs is a no-op.
                self._publisher.publish(Hint(job_id, JobKind.FINETUNE, 0))
        elif action is Action.CANCEL:
            corpus_id = await self._desk.write(
                lambda session: cancel_finetune(session, job_id, is_of_guild)
            )
            if corpus_id is not None:
                await self._intake.discard(corpus_id)
        self.on_change()
