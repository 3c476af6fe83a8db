"""Groups of commands that are imported only when one of them is called."""

from importlib import import_module
from typing import Any, ClassVar

import typer.main
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """A group whose commands come from the Typer app that ``origin`` names.

    So the help of the whole program lists the group without importing what its commands need.
    """

    # ``module:attribute``
    origin: ClassVar[str]

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command, or None where there is none of this name."""
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        if not self.commands:
            module, _, attribute = self.origin.partition(":")
            group = typer.main.get_group(getattr(import_module(module), attribute))
            self.commands = group.commands
