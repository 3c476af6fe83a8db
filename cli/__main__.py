"""``python -m cli`` is ``perroquet``."""

from cli.main import main

main()
