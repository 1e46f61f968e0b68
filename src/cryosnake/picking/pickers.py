"""The template-free pickers by name, called alike."""

from collections.abc import Callable
from functools import lru_cache

import pandas as pd

from cryosnake.picking.correlation_picker import pick_correlation
from cryosnake.picking.log_picker import pick_log
from cryosnake.picking.network import DetectorPair, pretrained_pair
from cryosnake.picking.network_picker import pick_network


def _log(image, pixel_size_angst, size, *, mask, device) -> pd.DataFrame:
    return pick_log(image, pixel_size_angst, size, mask=mask)


def _correlation(image, pixel_size_angst, size, *, mask, device) -> pd.DataFrame:
    return pick_correlation(image, pixel_size_angst, size, mask=mask)


def _network(image, pixel_size_angst, size, *, mask, device) -> pd.DataFrame:
    model = _pair(str(device))
    return pick_network(image, pixel_size_angst, size, mask=mask, model=model, device=device)


@lru_cache(maxsize=1)
def _pair(device: str) -> DetectorPair:
    """The pretrained detectors, read once a process."""
    return pretrained_pair(device)


#: name -> picker(image, pixel_size_angst, size, mask=, device=), a table of picks.
PICKERS: dict[str, Callable[..., pd.DataFrame]] = {
    "log": _log,
    "correlation": _correlation,
    "network": _network,
}
