"""What each setting is and may be, in words: for the generated files and for error messages."""

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cryosnake.config.model import Config

LEVELS = {
    0: "facts of the acquisition, and what an operator chooses",
    1: "thresholds that a facility may tune",
    2: "how a method works",
}

# The longest ending that fits wins.
_UNITS = {
    "_e_per_angst2_per_frame": "e/Å² per frame",
    "_e_per_angst2": "e/Å²",
    "_angst2": "Å²",
    "_angst": "Å",
    "_kv": "kV",
    "_mm": "mm",
    "_px": "px",
    "_mb": "MB",
    "_s": "s",
}


@dataclass(frozen=True)
class Setting:
    """One key of the configuration, as people read it.

    Parameters
    ----------
    section, key : its place; the dotted name is `section.key`.
    default : the value when the key is not given.
    help, allowed, unit : texts; the unit is empty for numbers without one.
    expert : level 0, 1 or 2 (see `LEVELS`).
    """

    section: str
    key: str
    default: Any
    help: str
    allowed: str
    unit: str
    expert: int

    @property
    def name(self) -> str:
        """The dotted name."""
        return f"{self.section}.{self.key}"


def unit_of(key: str) -> str:
    """The unit that the ending of a key stands for, else an empty text."""
    fitting = [ending for ending in _UNITS if key.endswith(ending)]
    return _UNITS[max(fitting, key=len)] if fitting else ""


def _range(field: FieldInfo) -> str:
    bounds = {}
    for rule in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if (bound := getattr(rule, name, None)) is not None:
                bounds[name] = f"{bound:.10g}"
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']} to {bounds['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    texts = [f"{words[name]} {bounds[name]}" for name in ("ge", "gt", "le", "lt") if name in bounds]
    return " " + " and ".join(texts) if texts else ""


def _in_words(annotation: Any, field: FieldInfo) -> str:
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin in (Union, types.UnionType):
        return ", or ".join(_in_words(argument, field) for argument in arguments)
    if origin is Literal:
        values = ", ".join(str(value) for value in arguments)
        return values if len(arguments) == 1 else f"one of {values}"
    if origin is list:
        filled = any(getattr(rule, "min_length", 0) for rule in field.metadata)
        if isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
            keys = [
                f"{name}: {_in_words(entry.annotation, entry)}"
                for name, entry in arguments[0].model_fields.items()
            ]
            return f"a list{' of at least one' if filled else ''} of {{{'; '.join(keys)}}}"
        if get_origin(arguments[0]) is Literal:
            size = "a list of at least one of" if filled else "a list of any of"
            return f"{size}: {', '.join(get_args(arguments[0]))}"
        return "a list of at least one text" if filled else "a list of texts"
    if origin is tuple:
        return f"a list of {len(arguments)} whole numbers"
    if annotation is type(None):
        return "null"
    if annotation is bool:
        return "true or false"
    if annotation is int:
        return f"a whole number{_range(field)}"
    if annotation is float:
        return f"a number{_range(field)}"
    if annotation is str:
        filled = any(getattr(rule, "min_length", 0) for rule in field.metadata)
        return "a text that is not empty" if filled else "a text"
    raise TypeError(f"no words for a setting of type {annotation!r}")


def plain(value: Any) -> Any:
    """A value of a setting as YAML and JSON hold it."""
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.model_dump() if isinstance(value, BaseModel) else value


def sections() -> dict[str, str]:
    """The sections in order, each with its one-line description."""
    return {
        name: " ".join((field.annotation.__doc__ or "").split())
        for name, field in Config.model_fields.items()
    }


def settings() -> list[Setting]:
    """All settings, section by section, the lowest expert level first within a section."""
    found = []
    for section, field in Config.model_fields.items():
        model = field.annotation
        rows = [
            Setting(
                section=section,
                key=key,
                default=plain(entry.get_default()),
                help=entry.description or "",
                allowed=_in_words(entry.annotation, entry),
                unit=unit_of(key),
                expert=entry.json_schema_extra["expert"],
            )
            for key, entry in model.model_fields.items()
        ]
        found += sorted(rows, key=lambda row: row.expert)
    return found
