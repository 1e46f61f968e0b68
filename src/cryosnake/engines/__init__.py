"""Adapters to other programs: build the command, run it, parse and check its output."""

from cryosnake.engines.command import EngineError, run_program

__all__ = ["EngineError", "run_program"]
