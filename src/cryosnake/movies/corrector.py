"""Correcting frames: gain, and bad pixels replaced by the mean of their good neighbours."""

import numpy as np
import torch

from cryosnake.errors import BadInputError

MAX_BAD_FRACTION = 0.2
_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


class FrameCorrector:
    """Turn raw frames into corrected float32 frames.

    Pixels that are bad (in `defects`, or with a gain of 0) become the mean of their good
    neighbours among the eight around them; in the inside of larger bad areas, of the neighbours
    that were replaced before, from the rim inwards. The indices are worked out once.

    Parameters
    ----------
    gain : (H, W) multiplicative gain, already turned onto the movie; None: 1.
    defects : (H, W) bool, True where bad; None: none.
    device : where frames are corrected and returned.

    Raises
    ------
    ValueError : shapes of gain and defects differ.
    BadInputError : more than a fifth of the pixels are bad.

    Examples
    --------
    >>> corrector = FrameCorrector(gain, defects)
    >>> corrected = corrector(frame)
    """

    def __init__(
        self,
        gain: np.ndarray | torch.Tensor | None = None,
        defects: np.ndarray | None = None,
        *,
        device: str | torch.device = "cpu",
    ):
        self.device = torch.device(device)
        self._gain = None
        if gain is not None:
            self._gain = torch.as_tensor(np.asarray(gain, np.float32)).to(self.device)
        bad = None if defects is None else np.array(defects, bool)
        if gain is not None:
            dead = np.asarray(gain) <= 0
            if bad is not None and bad.shape != dead.shape:
                raise ValueError(f"{bad.shape = } is not {dead.shape = }")
            bad = dead if bad is None else bad | dead
        self.shape = None if bad is None else bad.shape
        self.bad_pixels = 0 if bad is None else int(np.count_nonzero(bad))
        self._rounds = []
        if self.bad_pixels:
            if self.bad_pixels > MAX_BAD_FRACTION * bad.size:
                raise BadInputError(
                    None,
                    f"{100 * self.bad_pixels / bad.size:.1f} % of the detector's pixels are bad "
                    "(gain reference and defect file)",
                    f"at most {100 * MAX_BAD_FRACTION:g} %",
                )
            self._rounds = [
                tuple(torch.from_numpy(part).to(self.device) for part in one)
                for one in _replacement_rounds(bad)
            ]

    def __call__(
        self, frame: np.ndarray | torch.Tensor, *, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Correct a frame.

        Parameters
        ----------
        frame : (H, W) raw frame of any real type.
        out : (H, W) float32 on the corrector's device, to write into; by default a new tensor.

        Returns
        -------
        (H, W) float32 tensor.

        Raises
        ------
        BadInputError : the frame has another size than the gain or the defects.
        """
        if self.shape is not None and tuple(frame.shape) != self.shape:
            raise BadInputError(
                None,
                f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels",
                f"{self.shape[1]} x {self.shape[0]}, as the gain reference or the defects",
            )
        if isinstance(frame, np.ndarray):
            frame = torch.from_numpy(np.ascontiguousarray(frame))
        if out is None:
            out = torch.empty(tuple(frame.shape), dtype=torch.float32, device=self.device)
        out.copy_(frame.to(self.device))
        if self._gain is not None:
            out.mul_(self._gain)
        flat = out.view(-1)
        for bad, neighbours, weights in self._rounds:
            flat[bad] = (flat[neighbours] * weights).sum(dim=1)
        return out


def _replacement_rounds(bad: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each round: flat indices of bad pixels (n,), of their neighbours (n, 8), weights (n, 8).

    A round takes the bad pixels that touch a pixel that is good or was replaced in a round before.
    """
    width = bad.shape[1]
    unknown = np.pad(bad, 1, constant_values=True)  # beyond the edge there is nothing to take
    rows, columns = np.nonzero(bad)
    rounds = []
    while rows.size:
        near_rows = np.stack([rows + dy for dy, _ in _NEIGHBOURS], axis=1)
        near_columns = np.stack([columns + dx for _, dx in _NEIGHBOURS], axis=1)
        usable = ~unknown[near_rows + 1, near_columns + 1]
        ready = usable.any(axis=1)
        weights = usable[ready].astype(np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        neighbours = near_rows[ready] * width + near_columns[ready]
        neighbours[~usable[ready]] = 0
        rounds.append((rows[ready] * width + columns[ready], neighbours, weights))
        unknown[rows[ready] + 1, columns[ready] + 1] = False
        rows, columns = rows[~ready], columns[~ready]
    return rounds
