"""The members of a chaos run: they ask, and see what the channels show."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.worker import answer_to
from playground import cast
from playground.server import PlaygroundServer
from playground.world import Object

_CHANNELS = 40
# A bot forgets what it heard but has not written yet when it is killed, and hears nothing between
# the loss of its session and the next one; Discord does not tell it again. Generous, since the
# processes share the machine with the members.
_DEAF_SECONDS = 2.0


@dataclass
class Members:
    """Ask numbered questions in turn over many channels, and judge the answers.

    ``deaf_at`` holds the times at which the bot lost what Discord would not tell it again.
    """

    server: PlaygroundServer
    questions: dict[str, tuple[str, float, bool]] = field(default_factory=dict)
    deaf_at: list[float] = field(default_factory=list)
    absorbed: int = 0
    _channels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(4000, 4000 + _CHANNELS):
            channel = cast.channel(str(number), cast.PERROQUET_GUILD, f"chaos-{number}")
            self.server.world.channels[channel["id"]] = channel
            self._channels.append(channel["id"])
        self._count_absorbed_posts()

    def ask(self) -> None:
        """Ask the next question."""
        number = len(self.questions)
        channel = self._channels[number % len(self._channels)]
        text = f"<@{cast.BOT_ID}> what do parrots eat on day {number}?"
        is_online = self.server.gateway.is_bot_online
        message = self.server.world.say(cast.ALICE, channel, text)
        self.questions[message["id"]] = (text, time.monotonic(), is_online)

    def answers(self) -> dict[str, list[str]]:
        """The texts that stand under each question."""
        found: dict[str, list[str]] = {question: [] for question in self.questions}
        for channel in self._channels:
            for message in self.server.world.history(channel, cast.ALICE):
                question = (message.get("message_reference") or {}).get("message_id")
                if message["author"]["id"] == cast.BOT_ID and question in found:
                    found[question].append(message["content"])
        return found

    def unanswered(self) -> list[str]:
        """The questions that have no right answer yet and could have been heard."""
        answers = self.answers()
        return [
            question
            for question, (text, _, _) in self.questions.items()
            if answer_to(text) not in answers[question] and not self.may_be_unheard(question)
        ]

    def may_be_unheard(self, question: str) -> bool:
        """Whether it was asked while the bot was away, or just as it lost its session."""
        _, asked_at, is_online = self.questions[question]
        return not is_online or any(abs(at - asked_at) < _DEAF_SECONDS for at in self.deaf_at)

    def judge(self, heard: set[str]) -> list[str]:
        """What is wrong with the answers.

        Args:
            heard: the questions that stand in SQL.
        """
        wrong = []
        for question, texts in self.answers().items():
            expected = answer_to(self.questions[question][0])
            if question not in heard:
                if not self.may_be_unheard(question):
                    wrong.append(f"question {question} was not heard")
                elif texts:
                    wrong.append(f"question {question} has an answer but no row: {texts}")
            elif texts != [expected]:
                wrong.append(f"question {question} is answered {texts}, not [{expected!r}]")
        return wrong

    def _count_absorbed_posts(self) -> None:
        post = self.server.world.post
        seen: Counter[str] = Counter()

        def counting(*arguments: Any, **named: Any) -> Object:
            message = post(*arguments, **named)
            seen[message["id"]] += 1
            self.absorbed += seen[message["id"]] > 1
            return message

        self.server.world.post = counting  # type: ignore[method-assign]
