"""The ``perroquet chat`` command: what a person sees of it."""

import asyncio
import signal
import sys

from cli.chat.printing import GrowingText, printable
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

_DELAYED = "No worker has taken this up yet; the answer comes as soon as one does"


def chat(once: str | None, *, is_new: bool) -> None:
    """Converse, or print the answer to ``once``.

    Raises:
        WrongUsageError: there is nothing in ``once``.
        PerroquetError: something that is needed does not come up, or there is no answer.
        KeyboardInterrupt: Ctrl-C before there was an answer.
    """
    if once is not None and not once.strip():
        raise WrongUsageError("There is nothing to answer: the text is empty.")
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
        answer = await terminal.ask(text, lambda _: None, lambda: screen.say(_DELAYED))
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
    asking = asyncio.ensure_future(terminal.ask(text, growing.show, lambda: screen.say(_DELAYED)))
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


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
