"""Where models come from: ``hf:<repository>[@revision]``, ``path:<folder>``, ``gguf:<file>``."""
