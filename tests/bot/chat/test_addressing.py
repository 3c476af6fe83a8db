import dataclasses

import pytest

from bot.chat.addressing import HeardMessage, Verdict, address

BOT = 1000
HEARD = HeardMessage("hello", False, False, False, False, False, {BOT: "Perroquet", 7: "Alice"})


def decide(**changes):
    return address(dataclasses.replace(HEARD, **changes), bot_id=BOT, max_characters=50)


@pytest.mark.parametrize(
    "way", ["is_direct", "is_in_listening_channel", "mentions_bot", "replies_to_bot"]
)
def test_each_way_of_addressing_is_answered(way):
    assert decide(**{way: True}).verdict is Verdict.ANSWER


def test_talk_among_members_is_left_alone():
    assert decide().verdict is Verdict.IGNORE


def test_machines_are_left_alone():
    assert decide(is_direct=True, is_from_machine=True).verdict is Verdict.IGNORE


@pytest.mark.parametrize("text", ["", "   \n\t", f"<@{BOT}>", f"<@!{BOT}> "])
def test_a_message_without_text_is_asked_for_some(text):
    bare, picture = (decide(content=text, mentions_bot=True, has_files=x) for x in (False, True))
    assert bare.verdict is Verdict.ASK_WHAT
    assert picture.verdict is Verdict.ASK_FOR_TEXT


def test_a_picture_in_a_listening_channel_asks_for_nothing():
    assert decide(content="", is_in_listening_channel=True).verdict is Verdict.IGNORE


def test_a_message_that_is_too_long_is_said_to_be():
    assert decide(content="x" * 51, is_direct=True).verdict is Verdict.TOO_LONG


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (f"<@{BOT}>, hello", "hello"),
        (f"hello <@{BOT}>!", "hello @Perroquet!"),
        ("ask <@7> and <@8>", "ask @Alice and @someone"),
        ("see <#5> or <@&6>", "see #somewhere or @somewhere"),
        ("nice <:kiwi:123> <a:dance:4>", "nice :kiwi: :dance:"),
        ("😀😀", "😀😀"),
        ("שלום עולם", "שלום עולם"),
        ("z̸̢͝a̷͜l̵g̶o̷", "z̸̢͝a̷͜l̵g̶o̷"),
    ],
)
def test_the_model_reads_names_instead_of_ids(content, text):
    assert decide(content=content, is_direct=True).text == text
