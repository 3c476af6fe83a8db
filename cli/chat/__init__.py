"""``perroquet chat``: a conversation in the terminal, through the same jobs and workers."""
