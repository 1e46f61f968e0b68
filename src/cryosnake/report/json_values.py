"""Values out of JSON that may hold anything: what does not fit is None or empty."""

import math


def number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole_number(value: object) -> int | None:
    """A whole number from 0, else None."""
    found = number(value)
    return None if found is None or found < 0 else round(found)


def length(value: object) -> float | None:
    """A number above 0, else None."""
    found = number(value)
    return found if found is not None and found > 0 else None


def objects(value: object) -> dict[str, dict]:
    """The members of a JSON object that are objects themselves."""
    if not isinstance(value, dict):
        return {}
    return {str(name): member for name, member in value.items() if isinstance(member, dict)}


def rows_of(value: object) -> list[dict]:
    """The objects of a JSON list; or, of an object of lists, its rows."""
    if isinstance(value, dict):
        columns = {str(name): cells for name, cells in value.items() if isinstance(cells, list)}
        return [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)
        ]
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
