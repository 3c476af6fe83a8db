"""How an admin uses /jobs over the wire, and what the bot shows of it."""

from sqlalchemy.orm import Session

from core.jobs.states import JobState
from playground import cast
from playground.interactions import AUTOCOMPLETE, COMMAND
from tests.bot.wire import eventually
from tests.core.jobs.jobs_of_guilds import bring_to

STRING, USER = 3, 6
LOADING = 1 << 7


async def use(wire, user: str, *path: str, channel=cast.GENERAL, locale="en-US", **options) -> dict:
    """Use a command with text options; returns the bot's answer."""
    await eventually(lambda: bool(wire.world.commands))
    given = [{"name": k, "type": STRING, "value": v} for k, v in options.items()]
    data = make_data(wire, path, given)
    pending = wire.server.interactions.begin(COMMAND, user, channel, data, locale=locale)
    await eventually(lambda: answers(wire, channel, pending) != [])
    return answers(wire, channel, pending)[-1]


def answers(wire, channel: str, pending) -> list[dict]:
    """What the bot said to an interaction, once it is no longer thinking."""
    return [
        message
        for message in wire.world.messages.get(channel, {}).values()
        if message.get("interaction_metadata", {}).get("id") == pending.id
        and not message["flags"] & LOADING
    ]


def make_data(wire, path, options) -> dict:
    """What Discord sends of a command and its options."""
    command = next(c for c in wire.world.commands if c["name"] == path[0])
    nested = list(options)
    for part in reversed(path[1:]):
        nested = [{"name": part, "type": 1, "options": nested}]
    return {"id": command["id"], "name": path[0], "type": 1, "options": nested}


async def suggested(wire, user: str, *path: str, typed="", channel=cast.GENERAL, **others) -> list:
    """The values that the bot suggests for the last part of a path, an option."""
    *command, option = path
    focused = {"name": option, "type": STRING, "value": typed, "focused": True}
    given = [{"name": k, "type": STRING, "value": v} for k, v in others.items()]
    seen = []
    await eventually(lambda: bool(wire.world.commands))
    wire.world.listen(
        lambda event: seen.append(event.data) if event.name == "PAGE_AUTOCOMPLETE" else None
    )
    data = make_data(wire, command, [*given, focused])
    wire.server.interactions.begin(AUTOCOMPLETE, user, channel, data, locale="en-US")
    await eventually(lambda: bool(seen))
    return [choice["value"] for choice in seen[0]["choices"]]


def text_of(message: dict) -> str:
    """Everything that a message says."""
    said = [message["content"]]
    for embed in message["embeds"]:
        said += [embed.get("title", ""), embed.get("description", "")]
        said += [f"{field['name']}: {field['value']}" for field in embed.get("fields", [])]
        said.append(embed.get("footer", {}).get("text", ""))
    return "\n".join(said)


def bring(wire, job_id: str, state: JobState) -> None:
    """Lead a waiting job into a state, as a worker would."""
    with Session(wire.engine) as session, session.begin():
        bring_to(session, job_id, state)
