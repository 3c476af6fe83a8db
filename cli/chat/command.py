"""The ``perroquet chat`` command: what a person sees of it."""

import asyncio
import signal
import sys
from functools import partial

from cli.chat.printing import GrowingText, check_utf8, printable
from cli.chat.running import Running, running
from cli.chat.terminal import (
    CONVERSATION_CHANNEL,
    ONCE_CHANNEL,
    AnswerFailedError,
    Terminal,
    open_terminal,
)
from cli.up.screen import Screen
from cli.wiring import read_settings
from core.errors import WrongUsageError
from core.jobs.standing import Standing
from core.jobs.states import JobState


def chat(once: str | None, *, is_new: bool) -> None:
    """Converse, or print the answer to ``once``.

    Raises:
        WrongUsageError: there is nothing in ``once``, or it is not UTF-8.
        PerroquetError: something that is needed does not come up, or there is no answer.
        KeyboardInterrupt: Ctrl-C before there was an answer.
    """
    if once is not None and not once.strip():
        raise WrongUsageError("There is nothing to answer: the text is empty.")
    if once is not None:
        check_utf8(once)
    settings = read_settings()
    screen = Screen()
    # SIGTERM must unwind the stack too, or the processes started here are killed instead of ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running(settings, screen) as found:
        if once is not None:
            asyncio.run(_answer_once(found, once, screen))
        else:
            asyncio.run(_converse(found, screen, is_new=is_new))


async def _answer_once(found: Running, text: str, screen: Screen) -> None:
    async with open_terminal(found, ONCE_CHANNEL) as terminal:
        await terminal.forget()
        answer = await terminal.ask(text, lambda _: None, partial(_note_delay, screen))
        sys.stdout.write(printable(answer) + "\n")


async def _converse(found: Running, screen: Screen, *, is_new: bool) -> None:
    async with open_terminal(found, CONVERSATION_CHANNEL) as terminal:
        if is_new:
            await terminal.forget()
        screen.say("Ctrl-C stops an answer; an empty line, Ctrl-D or a second Ctrl-C ends")
        while text := read_line().strip():
            try:
                await _ask(terminal, text, screen)
            except AnswerFailedError as exc:
                screen.say(str(exc), style="red")


def read_line() -> str:
    """A line from the person; empty where they want to end.

    Blocks the event loop on purpose: nothing else is wanted of it meanwhile, and a Ctrl-C then
    interrupts the reading as it does everywhere.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input("you › " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        sys.stdout.write("\n")
        return ""
    finally:
        signal.signal(signal.SIGINT, before)


async def _ask(terminal: Terminal, text: str, screen: Screen) -> None:
    """Ask and show the answer as it comes; Ctrl-C stops it."""
    growing = GrowingText(_write)
    asking = asyncio.ensure_future(terminal.ask(text, growing.show, partial(_note_delay, screen)))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, asking.cancel)
    try:
        growing.show(await asking)
        growing.end()
    except asyncio.CancelledError:
        growing.end()
        screen.say("Stopped")
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def say_standing(standing: Standing) -> str:
    """Why there is no word of an answer yet."""
    if not standing.is_attended:
        return "No worker is there; the answer comes as soon as one is"
    if standing.state is JobState.RUNNING:
        return "Still thinking"
    return f"Waiting its turn, {standing.ahead} before it"


def _note_delay(screen: Screen, standing: Standing | None) -> None:
    if standing is not None:
        screen.say(say_standing(standing))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
