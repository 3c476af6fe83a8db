"""The members of a chaos run: they ask, and see what the channels show."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.worker import POISON, answer_to
from bot.catalogue import Catalogue
from core.jobs.outbox import ERROR_CODE_CRASHED
from playground import cast
from playground.server import PlaygroundServer
from playground.world import Object

_CHANNELS = 240
# A bot forgets what it heard but has not written yet when it is killed, and hears nothing between
# the loss of its session and the next one; Discord does not tell it again. Generous, since the
# processes share the machine with the members.
_DEAF_SECONDS = 2.0
# A bot on a busy machine has heard of this much that it has not written.
_IN_HANDS_SECONDS = 20.0
# What waited for the database is written this soon after it is back.
_TAKEN_IN_SECONDS = 15.0


@dataclass
class Members:
    """Ask numbered questions in turn over many channels, and judge the answers.

    ``deaf`` holds the times between which what was asked may be lost with the bot.
    ``on_post`` is called once as the next post of the bot's arrives.
    """

    server: PlaygroundServer
    questions: dict[str, tuple[str, float, bool]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    poisons: set[str] = field(default_factory=set)
    deaf: list[tuple[float, float]] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    absorbed: int = 0
    notices: int = 0
    on_post: Callable[[], None] | None = None
    _channels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(4000, 4000 + _CHANNELS):
            channel = cast.channel(str(number), cast.PERROQUET_GUILD, f"chaos-{number}")
            self.server.world.channels[channel["id"]] = channel
            self._channels.append(channel["id"])
        catalogue = Catalogue.load()
        self._crashed = f"🦜 {catalogue.say_error('en', ERROR_CODE_CRASHED, {})}"
        self._notice = catalogue.say("en", "chat-database-down")
        self._watch_posts()

    def ask(self, *, is_poison: bool = False) -> None:
        """Ask the next question; poison brings the worker down that answers it."""
        number = len(self.questions)
        channel = self._channels[number % len(self._channels)]
        what = POISON if is_poison else "food"
        text = f"<@{cast.BOT_ID}> what {what} do parrots eat on day {number}?"
        is_online = self.server.gateway.is_bot_online
        message = self.server.world.say(cast.ALICE, channel, text)
        self.questions[message["id"]] = (text, time.monotonic(), is_online)
        if is_poison:
            self.poisons.add(message["id"])

    def answers(self) -> dict[str, list[str]]:
        """The texts that stand under each question, but for word that the database is away."""
        found: dict[str, list[str]] = {question: [] for question in self.questions}
        self.notices = 0
        for channel in self._channels:
            for message in self.server.world.history(channel, cast.ALICE):
                question = (message.get("message_reference") or {}).get("message_id")
                if message["author"]["id"] != cast.BOT_ID:
                    continue
                if message["content"] == self._notice:
                    self.notices += 1
                elif question in found:
                    found[question].append(message["content"])
        return found

    def unanswered(self) -> list[str]:
        """The questions that have no right answer yet and could have been heard."""
        answers = self.answers()
        return [
            question
            for question in self.questions
            if self._expected(question) not in answers[question]
            and not self.may_be_unheard(question)
        ]

    def may_be_unheard(self, question: str) -> bool:
        """Whether it was asked while the bot was away, or just as it lost its session."""
        _, asked_at, is_online = self.questions[question]
        if not is_online or question in self.lost:
            return True
        return any(begins < asked_at < ends for begins, ends in self.deaf)

    def lose_unwritten(self, died_at: float, heard: Set[str]) -> None:
        """What a killed bot had in its hands: asked shortly before and not written when it died.

        Args:
            died_at: when.
            heard: what stands in SQL now, to which the dead add nothing.
        """
        for question, (_, asked_at, _) in self.questions.items():
            is_near = died_at - _IN_HANDS_SECONDS < asked_at < died_at
            if is_near and question not in heard:
                self.lost.add(question)

    def lose_what_is_heard(self, *, at_once: bool = True) -> None:
        """The bot is about to lose what it heard and has not written.

        Args:
            at_once: whether also what it heard just now; else only what waits for the database.
        """
        now = time.monotonic()
        waits = [begins for begins, ends in self.outages if now < ends + _TAKEN_IN_SECONDS]
        just_now = [now - _DEAF_SECONDS] if at_once else []
        since = min([*(begins - _DEAF_SECONDS for begins in waits), *just_now], default=now)
        self.deaf.append((since, now + _DEAF_SECONDS if at_once else now))

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """What is asked meanwhile waits in the bot's memory."""
        number = len(self.outages)
        began = time.monotonic()
        self.outages.append((began, math.inf))
        try:
            yield
        finally:
            self.outages[number] = (began, time.monotonic())

    def judge(self, heard: set[str]) -> list[str]:
        """What is wrong with the answers.

        Args:
            heard: the questions that stand in SQL.
        """
        wrong = []
        for question, texts in self.answers().items():
            expected = self._expected(question)
            if question not in heard:
                if not self.may_be_unheard(question):
                    wrong.append(f"question {question} was not heard")
                elif texts:
                    wrong.append(f"question {question} has an answer but no row: {texts}")
            elif texts != [expected]:
                wrong.append(f"question {question} is answered {texts}, not [{expected!r}]")
        return wrong

    def _expected(self, question: str) -> str:
        if question in self.poisons:
            return self._crashed
        return answer_to(self.questions[question][0])

    def _watch_posts(self) -> None:
        post = self.server.world.post
        seen: Counter[str] = Counter()

        def watched(*arguments: Any, **named: Any) -> Object:
            message = post(*arguments, **named)
            if named.get("nonce"):
                seen[message["id"]] += 1
                self.absorbed += seen[message["id"]] > 1
                if self.on_post is not None:
                    act, self.on_post = self.on_post, None
                    act()
            return message

        self.server.world.post = watched  # type: ignore[method-assign]
