"""What is said of an option that belongs to another command, and of a checkpoint too many."""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

from lla.analyses.registry import available
from lla.errors import ConfigurationError, some
from lla_cli.guard import guarded
from lla_cli.options import analysis_settings
from lla_cli.parameters import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Commands"]

_WORDS = "lla.words"
_ALL = ("analyze", "batch", "audit")  # the commands that run every analysis


class Commands(TyperGroup):
    """The group of all commands: it knows what the others take where one of them is at a loss."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words: a parser takes them off its list as it goes."""
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a usage that another command would understand is told as such."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            found = self._explained(error, ctx.meta[_WORDS])
            if found is None:
                raise
            with guarded():
                raise found from None

    def _explained(self, error: Exception, words: Sequence[str]) -> ConfigurationError | None:
        # By name: typer brings a copy of click with it, or takes the installed one.
        kind, inner = type(error).__name__, getattr(error, "ctx", None)
        name = getattr(inner, "info_name", None)
        if name is None or name not in self.commands:
            return None
        if kind == "NoSuchOption":
            return _of_another(name, str(getattr(error, "option_name", "")), words, self.commands)
        message = str(getattr(error, "message", ""))
        if kind == "UsageError" and "extra argument" in message and name in (_ALL[0], *available()):
            more = message.partition(" (")[2].removesuffix(")").split()
            return _too_many(name, getattr(inner, "params", {}).get("checkpoint") or "MODEL", more)
        return None


def _of_another(
    name: str, flag: str, words: Sequence[str], commands: Mapping[str, Any]
) -> ConfigurationError | None:
    """An option that other commands have and this one has not."""
    owners = [
        other
        for other, command in commands.items()
        if any(flag in (*item.opts, *item.secondary_opts) for item in command.params)
    ]
    if not owners:
        return None
    has = "has" if len(owners) == 1 else "have"
    reason = f"lla {name} has no option {flag}; {some([f'lla {one}' for one in owners])} {has}"
    stated = [text for one in owners if (text := _stated(one, flag, words))]
    if name in _ALL and stated:
        return ConfigurationError(reason, f"write: {' or '.join(stated)}")
    return ConfigurationError(reason, f"see lla {owners[0]} -h, or, what this has, lla {name} -h")


def _stated(owner: str, flag: str, words: Sequence[str]) -> str:
    """How a command that runs all analyses is given another's option: ``--set SECTION.KEY=V``."""
    entry = available().get(owner)
    for setting in analysis_settings(entry) if entry else ():
        name = setting.name.replace("_", "-")
        if flag in (f"--{name}", f"--no-{name}"):
            value = _value(setting, flag, words)
            return f"--set {shlex.quote(f'{setting.section}.{setting.key}={value}')}"
    return ""


def _value(setting: Setting, flag: str, words: Sequence[str]) -> str:
    if setting.switch:
        return "false" if flag.startswith("--no-") else "true"
    given = [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]
    given += [after for word, after in pairwise(words) if word == flag]
    if setting.metavar == "NAME=VALUE":
        pairs = (text.partition("=") for text in given or ["NAME=DATA"])
        return "{" + ", ".join(f'{key} = "{value}"' for key, _, value in pairs) + "}"
    return ",".join(given) or "VALUE"


def _too_many(name: str, first: str, more: Sequence[str]) -> ConfigurationError:
    only = "" if name == _ALL[0] else f" --only {name}"
    return ConfigurationError(
        f"lla {name} takes one checkpoint, {first}, and was given more: {some(more)}",
        f"for a report of each: lla batch {shlex.join([first, *more])}{only}",
    )
