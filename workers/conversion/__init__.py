"""Turning other formats into the ``transformers`` folders that the store keeps."""
