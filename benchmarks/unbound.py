"""Settings without the bounds of members and guilds: a few people ask for a great many."""

UNBOUND = {
    f"PERROQUET_CHAT__{who}_MAX_{what}": "0"
    for who in ("MEMBER", "GUILD")
    for what in ("IN_FLIGHT", "PER_MINUTE")
}
