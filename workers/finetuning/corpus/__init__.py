"""Corpora that admins upload: recognised by content, read as streams, prepared for training."""
