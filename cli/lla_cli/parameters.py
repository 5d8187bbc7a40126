"""How commands' options are told to typer: settings, switches, and the function that takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

__all__ = ["Setting", "option", "parameter", "with_parameters"]


@dataclass(frozen=True)
class Setting:
    """An option that stands for a setting.

    Attributes:
        name: Python name of the parameter.
        section: Section of the setting.
        key: Key of the setting.
        help: Line in ``--help``.
        panel: Where ``--help`` lists it.
        flags: How it is written; by default from the name.
        many: Whether it can be given repeatedly.
        metavar: What its value is called.
        switch: Whether it is given as --name or --no-name.
    """

    name: str
    section: str
    key: str
    help: str
    panel: str
    flags: tuple[str, ...] = ()
    many: bool = False
    metavar: str = "TEXT"
    switch: bool = False

    def parameter(self) -> inspect.Parameter:
        """The command's parameter."""
        flags = self.flags or (f"--{self.name.replace('_', '-')}",)
        if self.switch:
            both = f"{flags[0]}/--no-{flags[0][2:]}"
            return option(self.panel, self.name, bool, None, self.help, flags=(both,))
        kind: Any = list[str] if self.many else str
        default: Any = [] if self.many else None
        return option(self.panel, self.name, kind, default, self.help, self.metavar, flags=flags)


def parameter(name: str, type: Any, default: Any, option: Any) -> inspect.Parameter:
    """A keyword parameter that typer reads as an option (or argument)."""
    kind = type if default is not None else type | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option],
    )


def option(
    panel: str,
    name: str,
    type: Any,
    default: Any,
    help: str,
    metavar: str | None = None,
    *,
    flags: tuple[str, ...] = (),
    short: str = "",
) -> inspect.Parameter:
    """An option, listed in ``panel``; written as its name unless ``flags`` say otherwise."""
    known = flags or (f"--{name.replace('_', '-')}",)
    written = (short, *known) if short else known
    # A switch takes no value, and typer would name one beside it.
    called = "" if type is bool and metavar is None else metavar
    made = typer.Option(*written, help=help, rich_help_panel=panel, metavar=called)
    return parameter(name, type, default, made)


def with_parameters(
    function: Callable[[dict[str, Any]], None], parameters: tuple[inspect.Parameter, ...]
) -> Callable[..., None]:
    """A function of the options' values, with a signature that tells typer of each option."""

    def command(**values: Any) -> None:
        function(values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    return command
