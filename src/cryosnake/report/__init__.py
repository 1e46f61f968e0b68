"""What people read: the session's report page."""

from cryosnake.report.page import render, write_report

__all__ = ["render", "write_report"]
