"""The typed configuration: the model, reading and checking, generated files, a session's start."""

from cryosnake.config.load import (
    TEMPLATES_FOLDER,
    layered,
    load_config,
    read_template,
    read_yaml,
    template_names,
)
from cryosnake.config.model import Config

__all__ = [
    "TEMPLATES_FOLDER",
    "Config",
    "layered",
    "load_config",
    "read_template",
    "read_yaml",
    "template_names",
]
