"""Unattended, on-the-fly cryo-EM single-particle analysis."""

from importlib.metadata import version

__version__ = version("cryosnake")
