"""The token of the playground's bot: shaped as Discord's are, worth nothing anywhere else."""

# discord.py reads the application id from the first part (base64 of "1000").
PLAYGROUND_TOKEN = "MTAwMA.playground.not-a-secret"  # noqa: S105
