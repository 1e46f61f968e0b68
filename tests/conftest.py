"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real reference data; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("CRYOSNAKE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"reference data not found at {folder} (set CRYOSNAKE_SHARED_DATA)")
    return folder
