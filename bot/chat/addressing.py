"""Is a message meant for the bot, and what does it say? Plain Python, no Discord."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

_USER_MENTION = re.compile(r"<@!?(\d+)>")
_OTHER_MENTION = re.compile(r"<(@&|#)(\d+)>")
_CUSTOM_EMOJI = re.compile(r"<a?(:\w+:)\d+>")


class Verdict(Enum):
    """What to do with a message."""

    IGNORE = "ignore"
    ANSWER = "answer"
    # It is meant for the bot and holds nothing that can be read: files alone, or nothing at all.
    ASK_FOR_TEXT = "ask for text"
    ASK_WHAT = "ask what"
    TOO_LONG = "too long"


@dataclass(frozen=True)
class HeardMessage:
    """What addressing needs to know of a message.

    ``names`` maps the ids of mentioned users, roles and channels to what people call them.
    ``has_files`` says whether there is anything but text, such as a picture or a sticker.
    """

    content: str
    is_from_machine: bool
    is_direct: bool
    is_in_listening_channel: bool
    mentions_bot: bool
    replies_to_bot: bool
    names: Mapping[int, str]
    has_files: bool = False


@dataclass(frozen=True)
class Addressed:
    """The verdict, and the text as the model shall read it."""

    verdict: Verdict
    text: str = ""


def address(heard: HeardMessage, *, bot_id: int, max_characters: int) -> Addressed:
    """Decide on one message."""
    if heard.is_from_machine or not _is_meant(heard):
        return Addressed(Verdict.IGNORE)
    text = readable_text(heard.content, heard.names, bot_id)
    if not text:
        # In a channel that is switched on, a picture among members asks for nothing.
        is_personal = heard.is_direct or heard.mentions_bot or heard.replies_to_bot
        question = Verdict.ASK_FOR_TEXT if heard.has_files else Verdict.ASK_WHAT
        return Addressed(question if is_personal else Verdict.IGNORE)
    if len(text) > max_characters:
        return Addressed(Verdict.TOO_LONG)
    return Addressed(Verdict.ANSWER, text)


def readable_text(content: str, names: Mapping[int, str], bot_id: int) -> str:
    """The content with names instead of ids, and without the mention that calls the bot."""
    text = content.strip()
    call = re.match(rf"<@!?{bot_id}>[\s,:]*", text)
    if call:
        text = text[call.end() :]
    text = _USER_MENTION.sub(lambda m: "@" + names.get(int(m[1]), "someone"), text)
    text = _OTHER_MENTION.sub(
        lambda m: ("#" if m[1] == "#" else "@") + names.get(int(m[2]), "somewhere"), text
    )
    text = _CUSTOM_EMOJI.sub(r"\1", text).strip()
    return text if any(map(_is_visible, text)) else ""


def _is_visible(character: str) -> bool:
    """Neither a separator nor a control or format character, such as a zero-width space."""
    return unicodedata.category(character)[0] not in "ZC"


def _is_meant(heard: HeardMessage) -> bool:
    return (
        heard.is_direct
        or heard.is_in_listening_channel
        or heard.mentions_bot
        or heard.replies_to_bot
    )
