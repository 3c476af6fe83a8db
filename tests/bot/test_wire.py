"""The bot over the wire: real client, real gateway and REST, real Valkey and SQL."""

import asyncio

from sqlalchemy.orm import Session

from bot.chat.live_reply import LiveReply
from core.conversations.replies import mark_delivered
from core.db.tables import Job, Reply
from playground import cast
from tests.bot.wire import eventually
from workers.generation.answering import EmptyAnswerError

ASK = f"<@{cast.BOT_ID}> what do parrots eat?"


async def test_a_mention_is_answered_once_under_a_placeholder(wire):
    async with wire.bot():
        question = wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        assert wire.answer(job_id, "Seeds ", "and fruit.") == ["what do parrots eat?"]
        await eventually(lambda: wire.said_by_bot() == ["Seeds and fruit."])
    reply = list(wire.world.messages[cast.GENERAL].values())[-1]
    assert reply["message_reference"]["message_id"] == question["id"]
    assert reply["mentions"] == []


async def test_an_answer_that_comes_at_once_is_posted_once_and_never_edited(wire, monkeypatch):
    monkeypatch.setattr("bot.chat.live_reply._PLACEHOLDER_AFTER_SECONDS", 5.0)
    shown = []
    wire.world.listen(
        lambda event: (
            event.name in ("MESSAGE_CREATE", "MESSAGE_UPDATE")
            and event.data["author"]["id"] == cast.BOT_ID
            and shown.append((event.name, event.data["content"]))
        )
    )
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Seeds ", "and fruit.")
        await eventually(lambda: bool(shown))
        await asyncio.sleep(0.3)
    assert shown == [("MESSAGE_CREATE", "Seeds and fruit.")]
    with Session(wire.engine) as session:
        reply = session.get(Reply, job_id)
        assert reply.delivered_at is not None
        assert len(reply.part_ids) == 1


async def test_a_direct_message_a_reply_and_a_listening_channel_are_answered(wire):
    async with wire.bot():
        direct = wire.world.open_direct(cast.BRUNO)
        wire.world.say(cast.BRUNO, direct["id"], "Bonjour")
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Salut !")
        await eventually(lambda: wire.said_by_bot(direct["id"]) == ["Salut !"])
        own = list(wire.world.messages[direct["id"]].values())[-1]
        wire.world.say(cast.BRUNO, direct["id"], "Ça va ?", referenced_message=own)
        (second,) = await wire.queued()
        assert wire.answer(second, "Oui.") == ["Bonjour", "Salut !", "Ça va ?"]


async def test_talk_among_members_is_left_alone(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, "Hello Bruno")
        wire.world.say(cast.ALICE, cast.GENERAL, f"<@{cast.BOT_ID}>")
        await eventually(lambda: len(wire.said_by_bot()) == 1)
    assert "Yes?" in wire.said_by_bot()[0]
    with Session(wire.engine) as session:
        assert session.query(Job).count() == 0


async def test_a_long_answer_goes_on_in_further_messages(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        text = "parrots eat many things. " * 200
        wire.answer(job_id, text)
        await eventually(lambda: " ".join(wire.said_by_bot()).split() == text.split())
    assert len(wire.said_by_bot()) == 3


async def test_everyone_in_an_answer_pings_nobody(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.answer(job_id, "@everyone come here <@1002>")
        await eventually(lambda: wire.said_by_bot() == ["@everyone come here <@1002>"])
    message = list(wire.world.messages[cast.GENERAL].values())[-1]
    assert (message["mention_everyone"], message["mentions"]) == (False, [])


async def test_a_failure_is_told_in_the_guild_s_language(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.refuse(job_id, EmptyAnswerError("nothing"))
        await eventually(lambda: "nothing to say" in "".join(wire.said_by_bot()))


async def test_an_answer_that_ended_while_the_bot_was_away_is_shown_when_it_is_back(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
    wire.answer(job_id, "Seeds.")
    async with wire.bot():
        await eventually(lambda: wire.said_by_bot() == ["Seeds."])


async def test_two_processes_of_one_name_leave_a_delivered_answer_alone(wire):
    async with wire.bot() as bot:
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot() == ["Seeds."])
        await eventually(lambda: is_delivered(wire, job_id))
        keeper = next(c for c in bot.cogs.values() if hasattr(c, "_intake"))._intake._keeper
        late = LiveReply(
            keeper._tools, job_id, int(cast.GENERAL), 1, "en", part_ids=[1], is_adopted=True
        )
        late.end()
        await late.run()
        assert wire.said_by_bot() == ["Seeds."]
        # The same, had the delivery come after its first look.
        late.is_adopted = False
        late.part_ids = [int(next(reversed(wire.world.messages[cast.GENERAL])))]
        await late.run()
        assert wire.said_by_bot() == ["Seeds."]


def is_delivered(wire, job_id) -> bool:
    with Session(wire.engine) as session:
        return session.get(Reply, job_id).delivered_at is not None


async def test_a_lost_stream_loses_no_answer(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.streams.close()
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot() == ["Seeds."])


async def test_a_dropped_socket_loses_no_message(wire):
    async with wire.bot():
        await wire.server.gateway.drop_connections()
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot() == ["Seeds."])


async def test_server_errors_of_discord_are_outlived(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        wire.server.faults.next_statuses.append(502)
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot() == ["Seeds."], seconds=15)
    assert wire.server.faults.counts["rest-502"] == 1


async def test_a_post_whose_answer_was_lost_is_not_doubled(wire):
    async with wire.bot():
        wire.server.faults.next_lost_answers.append(502)
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.server.faults.counts.get("rest-lost") == 1)
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot() == ["Seeds."], seconds=15)


async def test_a_deleted_question_is_not_answered_any_more(wire):
    async with wire.bot():
        question = wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        wire.world.delete(cast.GENERAL, question["id"])
        await eventually(lambda: wire.said_by_bot() == [])
    with Session(wire.engine) as session:
        assert session.get(Job, job_id).state == "cancelled"


async def test_a_channel_the_bot_may_not_write_in_ends_the_matter(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.MUTE, ASK)
        (job_id,) = await wire.queued()

        def reason() -> str | None:
            with Session(wire.engine) as session:
                return session.get(Reply, job_id).undeliverable

        await eventually(lambda: reason() == "forbidden")


async def test_a_guild_that_is_left_has_its_jobs_cancelled(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.world.remove_bot(cast.PERROQUET_GUILD)

        def state() -> str:
            with Session(wire.engine) as session:
                return session.get(Job, job_id).state

        await eventually(lambda: state() == "cancelled")
        wire.world.say(cast.ALICE, cast.GENERAL, f"<@{cast.BOT_ID}>")
        wire.world.invite_bot(cast.PERROQUET_GUILD)
        wire.world.say(cast.ALICE, cast.RANDOM, f"<@{cast.BOT_ID}>")
        await eventually(lambda: len(wire.said_by_bot(cast.RANDOM)) == 1)
        assert not any("called" in said for said in wire.said_by_bot()), "nobody is told"


async def test_commands_are_registered_in_both_languages(wire):
    async with wire.bot():
        await eventually(lambda: bool(wire.world.commands))
    for command in wire.world.commands:
        assert command["description"]
        assert command["description_localizations"]["fr"]
        for option in command.get("options", []):
            assert option["description_localizations"]["fr"]


async def run_command(
    wire, user, name, *path, locale="en-US", channel=cast.GENERAL, options=(), wait=True
):
    """Use a slash command as somebody; returns the bot's answer."""
    from playground.interactions import COMMAND, LOADING

    await eventually(lambda: bool(wire.world.commands))
    command = next(c for c in wire.world.commands if c["name"] == name)
    nested = list(options)
    for part in reversed(path):
        nested = [{"name": part, "type": 1, "options": nested}]
    data = {"id": command["id"], "name": name, "type": 1, "options": nested}
    interactions = wire.server.interactions
    pending = interactions.begin(COMMAND, user, channel, data, locale=locale)
    if not wait:
        return None
    await eventually(lambda: pending.original_id is not None)
    said = wire.world.find(channel, pending.original_id)
    await eventually(lambda: not said["flags"] & LOADING)
    return said


async def press(wire, user, message, label):
    """Press a button of a message."""
    from playground.interactions import COMPONENT

    buttons = [b for row in message["components"] for b in row["components"]]
    custom_id = next(b["custom_id"] for b in buttons if b["label"] == label)
    pending = wire.server.interactions.begin(
        COMPONENT,
        user,
        message["channel_id"],
        {"component_type": 2, "custom_id": custom_id},
        locale="en-US",
        source=message,
    )
    await eventually(lambda: pending.is_acknowledged)


async def test_a_channel_is_switched_on_answered_and_switched_back(wire):
    async with wire.bot():
        said = await run_command(wire, cast.CAMILLE, "perroquet", "here")
        assert "every message" in said["content"]
        wire.world.say(cast.ALICE, cast.GENERAL, "Anybody there?")
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Me!")
        await press(wire, cast.CAMILLE, said, "Undo")
        await eventually(lambda: "only those" in said["content"])
        again = await run_command(wire, cast.CAMILLE, "perroquet", "away", locale="fr")
        assert "déjà" in again["content"]


async def test_a_member_may_not_switch_a_channel(wire):
    async with wire.bot():
        said = await run_command(wire, cast.ALICE, "perroquet", "here", locale="fr")
        assert "pas le droit" in said["content"]
        assert said["flags"] & 64


async def test_the_language_of_a_server_is_chosen(wire):
    async with wire.bot():
        options = [{"name": "language", "type": 3, "value": "Français"}]
        await run_command(wire, cast.CAMILLE, "perroquet", "language", options=options)
        wire.world.say(cast.ALICE, cast.GENERAL, f"<@{cast.BOT_ID}>")
        await eventually(lambda: any("Oui ?" in said for said in wire.said_by_bot()))


async def test_help_speaks_the_language_of_who_asks(wire):
    async with wire.bot():
        said = await run_command(wire, cast.ALICE, "perroquet", "help", locale="fr")
        assert "mentionne-moi" in said["embeds"][0]["description"]
        assert not said["embeds"][0].get("fields")


async def test_help_names_every_command_to_an_admin(wire):
    async with wire.bot():
        said = await run_command(wire, cast.CAMILLE, "perroquet", "help")
        embed = said["embeds"][0]
        text = embed["description"] + "".join(field["value"] for field in embed["fields"])
        assert [c["name"] for c in wire.world.commands if f"/{c['name']}" not in text] == []


async def test_a_member_s_words_are_forgotten_after_a_question(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot() == ["Seeds."])
        said = await run_command(wire, cast.ALICE, "forget", "me")
        await press(wire, cast.ALICE, said, "Forget it")
        await eventually(lambda: "2 messages" in said["content"])
        kept = await run_command(wire, cast.CAMILLE, "forget", "channel")
        await press(wire, cast.CAMILLE, kept, "Keep it")
        assert "Nothing" in kept["content"]
        refused = await run_command(wire, cast.ALICE, "forget", "channel")
        assert "may not" in refused["content"]


async def test_the_placeholder_of_a_forgotten_question_goes(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        said = await run_command(wire, cast.ALICE, "forget", "me")
        await press(wire, cast.ALICE, said, "Forget it")
        await eventually(lambda: not any("🦜" in said for said in wire.said_by_bot()))


async def test_the_placeholder_of_a_question_that_sql_knows_no_more_goes(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        with Session(wire.engine) as session, session.begin():
            session.delete(session.get(Job, job_id))
        await eventually(lambda: wire.said_by_bot() == [])


async def test_a_placeholder_beside_the_answer_of_another_process_goes(wire, monkeypatch):
    # What the stream says of it is lost.
    monkeypatch.setattr(LiveReply, "feed", lambda self, entry: None)
    async with wire.bot() as bot:
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        # Another process answers, so much later that Discord has forgotten the nonce.
        said = await bot.get_partial_messageable(int(cast.GENERAL)).send("Seeds.")
        with Session(wire.engine) as session, session.begin():
            mark_delivered(session, job_id, [said.id])
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot() == ["Seeds."])


async def test_ping_says_what_is_up_and_what_is_down(wire):
    async with wire.bot():
        said = await run_command(wire, cast.ALICE, "ping")
        embed = said["embeds"][0]
        fields = {field["name"]: field["value"] for field in embed["fields"]}
        assert "down" in embed["title"], "no worker runs"
        assert fields["Generation workers"] == "0"
        assert fields["Answers here"] == wire.settings.generation.model
        assert fields["Redis"] == "up"
