"""The settings of a run: flag > LLA_* > recipe > [tool.lla] > default, and where each came from.

Settings are sections of keys. ``run`` holds what every analysis obeys; ``model``, ``data``,
``loss`` and ``training`` state the problem; each analysis has a section of its own name. A source
is a mapping from sections to keys to values; later sources win key by key, as
:class:`lla.sources.Layers` says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lla.analyses.analysis import Analysis, Config
from lla.analyses.registry import available, select
from lla.checkpoint.files import split_scheme, stem_of
from lla.curvature.names import Method, Precision
from lla.errors import ConfigurationError, UnstatedError, nearest
from lla.problem.recipe import DataSpec, LossSpec, ModelSpec, Training, valid_facts
from lla.sources import OWNERS, Layers, Source, find_recipe, read_project, read_recipe, typed
from lla.validation import first_mistake

__all__ = [
    "COMMAND_LINE",
    "RunSettings",
    "Settings",
    "gather",
    "is_recipe",
    "meant",
    "resolve",
]

COMMAND_LINE = "command line"  # the origin of what flags state
_ENVIRONMENT = "LLA_"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class RunSettings(BaseModel):
    """What every analysis of a run obeys."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    only: tuple[str, ...] = Field((), description="run these analyses only")
    skip: tuple[str, ...] = Field((), description="leave these analyses out")
    params: tuple[str, ...] = Field((), description="analyse the parameters these globs match")
    tolerance: float = Field(0.02, gt=0, lt=1, description="relative half-width of estimates")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence of intervals")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["float32", "float64"] = Field("float32", description="the model's dtype")
    seed: int = Field(0, ge=0, description="seed of every random draw")
    memory: int = Field(0, ge=0, description="memory budget, as 8GiB; 0: half of the machine's")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as torch chooses")
    method: Method = Field(
        "auto",
        description="how Hessian products are made: reverse, forward, difference; auto: by trying",
    )
    products: Precision = Field(
        "same", description="precision of products: same (the model's), tf32 or bfloat16"
    )
    together: int = Field(0, ge=0, description="vectors of one pass; 0: chosen by measurement")
    shard_parameters: bool | None = Field(
        None,
        description="share the parameters among the ranks of torchrun; left out: where one device "
        "cannot hold them",
    )

    @field_validator("memory", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        if not isinstance(value, str) or value.isdigit():
            return value
        number = value.strip().upper().removesuffix("B").removesuffix("I")
        unit = number[-1:] if number[-1:] in "KMGT" else ""
        try:
            return int(float(number.removesuffix(unit)) * _UNITS[unit])
        except (ValueError, OverflowError):
            raise ValueError(f"'{value}' is not a size like 8GiB") from None

    @field_validator("only", "skip", "params", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        texts = value if isinstance(value, (list, tuple)) else [value]
        parts = (part.strip() for text in texts for part in str(text).split(","))
        return tuple(part for part in parts if part)


_PROBLEM_SECTIONS: dict[str, type[BaseModel]] = {
    "run": RunSettings,
    "model": ModelSpec,
    "data": DataSpec,
    "loss": LossSpec,
    "training": Training,
}


@dataclass(frozen=True)
class Settings:
    """The settings of a run, validated.

    Attributes:
        run: What every analysis obeys.
        model: How the network is made.
        data: Where the data is.
        loss: Which loss.
        training: How the network was trained.
        analyses: Configuration of each analysis, by name.
        origins: Where each value that is not a default came from, by ``section.key``.
        recipe: The recipe's file, if there is one.
    """

    run: RunSettings = field(default_factory=RunSettings)
    model: ModelSpec = field(default_factory=ModelSpec)
    data: DataSpec = field(default_factory=DataSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    training: Training = field(default_factory=Training)
    analyses: Mapping[str, Config] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    recipe: Path | None = None

    @contextmanager
    def pointing_to_recipe(self) -> Iterator[None]:
        """Where something is stated nowhere and there is a recipe, say that it belongs in there."""
        try:
            yield
        except UnstatedError as error:
            if self.recipe is None or error.key in self.origins:
                raise
            raise UnstatedError(
                error.reason, f"fill in {error.key} in {self.recipe}", error.key
            ) from None

    def with_facts(self, facts: Mapping[str, Any]) -> Settings:
        """Fill in what the settings leave open of the training from what a checkpoint tells."""
        stated = (path.partition(".") for path in self.origins)
        known = {key for section, _, key in stated if section == "training"}
        new = {key: value for key, value in valid_facts(facts).items() if key not in known}
        training = Training(**{**self.training.model_dump(exclude_unset=True), **new})
        origins = {**self.origins, **{f"training.{key}": "checkpoint" for key in new}}
        return replace(self, training=training, origins=origins)

    def selected(self, *, domains: bool = False) -> tuple[Analysis, ...]:
        """The analyses to run, in order.

        Args:
            domains: Whether the problem itself brings the domains that are to be compared.

        Raises:
            ConfigurationError: A name is unknown.
            NothingToDoError: Nothing is left.
        """
        lacking = [
            entry.name
            for entry in available().values()
            if entry.needs
            and not (domains and "domains" in entry.needs)
            and entry.name in self.analyses
            and not any(getattr(self.analyses[entry.name], key) for key in entry.needs)
        ]
        return select(self.run.only, self.run.skip, lacking)

    def sections(self) -> dict[str, dict[str, Any]]:
        """All settings as plain values, by section and key."""
        found = {name: getattr(self, name) for name in _PROBLEM_SECTIONS}
        return {
            name: model.model_dump(mode="json")
            for name, model in {**found, **self.analyses}.items()
        }


def resolve(
    sources: Iterable[Source] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """Merge sources, weakest first, and validate the result.

    Args:
        sources: Flags as the last one; the environment goes below it.
        environment: Variables, of which ``LLA_KEY`` and ``LLA_SECTION_KEY`` are settings.

    Raises:
        ConfigurationError: A section or key is unknown, or a value is invalid.
    """
    *lower, flags = sources or (Source("flags", {}),)
    stack = [*lower, *_environment_sources(environment or {}), flags]
    layers = Layers()
    for source in stack:
        for section, keys in source.values.items():
            _refuse_unknown(section, keys, source.origin)
            layers.add(section, keys, source.origin)
    made = {
        name: _validated(type, name, layers.values.get(name, {}), layers.origins)
        for name, type in _sections().items()
    }
    problem = {name: made.pop(name) for name in _PROBLEM_SECTIONS}
    return Settings(**problem, analyses=made, origins=layers.origins)


def gather(
    checkpoint: str | Path,
    *,
    recipe: Path | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings for a checkpoint from all places: project, recipe, environment, flags.

    Args:
        checkpoint: The file, folder or name; by default its recipe lies beside it.
        recipe: A recipe to use instead.
        flags: Sections of keys; paths in them are relative to the current folder.
        environment: Variables of the process.

    Raises:
        ConfigurationError: A file cannot be read, or a setting is invalid.
    """
    resolve((), environment)  # a wrong variable is told whatever the files are like
    scheme, rest = split_scheme(checkpoint)
    place = Path() / stem_of(checkpoint) if scheme and not Path(rest).exists() else Path(rest)
    found = recipe or find_recipe(place, stem_of(checkpoint))
    sources = [read_project(Path.cwd()), read_recipe(found) if found else None]
    known = [source for source in sources if source is not None]
    resolved = resolve([*known, Source(COMMAND_LINE, flags or {})], environment)
    return replace(resolved, recipe=found)


def is_recipe(path: Path) -> bool:
    """Whether a file is a recipe: TOML that says its schema, or of sections and keys of ours."""
    try:
        source = read_recipe(path)
        resolve([source])
    except ConfigurationError:
        return _says_schema(path)
    return bool(source.values) or _says_schema(path)


def _says_schema(path: Path) -> bool:
    try:
        return "schema" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def meant(word: str) -> str:
    """The settings that a word alone may stand for, as ``training.lr``; "" if there are none."""
    word = word.casefold()
    if word in OWNERS:
        return f"{word}.{OWNERS[word]}"
    names = (name for name, type in _sections().items() if word in type.model_fields)
    return " or ".join(f"{name}.{word}" for name in names)


def _sections() -> dict[str, type[BaseModel]]:
    return {**_PROBLEM_SECTIONS, **{name: entry.config for name, entry in available().items()}}


def _refuse_unknown(section: str, keys: Any, origin: str) -> None:
    sections = _sections()
    if not isinstance(keys, Mapping):
        raise ConfigurationError(
            f"{origin}: {section} = {keys!r} stands in no section", _belongs(section, keys)
        )
    if section not in sections:
        raise ConfigurationError(
            f"{origin}: there is no section [{section}]{nearest(section, sections)}",
            f"the sections are: {', '.join(sections)}",
        )
    known = sections[section].model_fields
    for key in keys:
        if key not in known:
            raise ConfigurationError(
                f"{origin}: unknown key '{key}' in [{section}]{nearest(key, known)}",
                f"the keys of [{section}] are: {', '.join(known) or 'none'}",
            )


def _belongs(word: str, value: Any) -> str:
    """Where a setting that stands in no section belongs."""
    places = meant(word)
    if not places:
        return f"the sections are: {', '.join(_sections())}"
    section, _, key = places.partition(" or ")[0].partition(".")
    text = f'"{value}"' if isinstance(value, str) else value
    more = places.partition(" or ")[2]
    return f"it belongs in [{section}]: {key} = {text}" + (f" (or {more})" if more else "")


def _validated(
    type: type[BaseModel], section: str, values: dict[str, Any], origins: Mapping[str, str]
) -> Any:
    try:
        return type(**values)
    except ValidationError as error:
        found = first_mistake(error)
        origin = origins.get(f"{section}.{found.key}", "settings")
        given = values.get(found.key, found.value)
        about = type.model_fields[found.key].description if found.key else "see the recipe's keys"
        raise ConfigurationError(
            f"{origin}: [{section}] {found.key} = {given!r} is not valid: {found.why}",
            f"{found.key} is: {about}",
        ) from None


def _environment_sources(environment: Mapping[str, str]) -> list[Source]:
    """One of each variable; those that name a factory, data or a loss come before what is of it."""
    found: list[tuple[bool, Source]] = []
    for name, text in environment.items():
        if not name.startswith(_ENVIRONMENT):
            continue
        key = name.removeprefix(_ENVIRONMENT).lower()
        section = next((one for one in _sections() if key.startswith(f"{one}_")), "run")
        key = key.removeprefix(f"{section}_")
        if section == "run" and key not in RunSettings.model_fields and meant(key):
            variables = meant(key).upper().replace(".", "_").replace(" OR ", f" or {_ENVIRONMENT}")
            raise ConfigurationError(
                f"the variable {name} names no setting: only those of [run] go without a section",
                f"write {_ENVIRONMENT}{variables}",
            )
        source = Source(f"environment ({name})", {section: {key: typed(text)}})
        found.append((OWNERS.get(section) != key, source))
    return [source for _, source in sorted(found, key=lambda one: one[0])]
