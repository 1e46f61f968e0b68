"""Correcting parts of frames again, exactly as the frame corrector did with the whole frame."""

import bisect

import torch

STRIP_ROWS = 64


class RawMovie:
    """Raw frames in their own type, and what is needed to correct any part of them.

    A frame corrector is linear: a gain, and bad pixels that become means of others. The gain is
    its answer to a frame of ones; bad pixels are those where its answer to two test patterns is
    not gain times pattern. Their corrected values are kept for every frame.

    Parameters
    ----------
    corrector : callable (frame, out=float32 tensor) -> float32 tensor (H, W) on `device`.
    shape : (H, W).
    frames : number of frames.
    """

    def __init__(self, corrector, shape: tuple[int, int], frames: int, device):
        self.shape = tuple(shape)
        self._corrector = corrector
        self._device = torch.device(device)
        self.gain = corrector(torch.ones(self.shape, dtype=torch.uint8))
        found = [self._bad_against(_pattern(self.shape, modulus)) for modulus in (7, 11)]
        self._bad = torch.cat(found).unique()
        self._bad_list = self._bad.tolist()
        self._raw: list[torch.Tensor | None] = [None] * frames
        self._values: list[torch.Tensor | None] = [None] * frames

    def _bad_against(self, pattern: torch.Tensor) -> torch.Tensor:
        """Flat indices, in order, of pixels whose correction is not gain times pattern."""
        answer = self._corrector(pattern)
        pattern = pattern.to(self._device)
        found = []
        for top in range(0, self.shape[0], STRIP_ROWS):
            strip = slice(top, top + STRIP_ROWS)
            expected = pattern[strip] * self.gain[strip]
            wrong = (answer[strip] - expected).abs_() > expected.abs_().add_(1.0).mul_(1e-4)
            found.append(wrong.flatten().nonzero().flatten() + top * self.shape[1])
        return torch.cat(found)

    def __len__(self) -> int:
        return len(self._raw)

    def add(self, index: int, frame, out: torch.Tensor | None = None) -> torch.Tensor:
        """Keep raw frame `index` (from 0); returns it corrected, in `out` where given."""
        raw = torch.as_tensor(frame).to(self._device)
        corrected = self._corrector(raw, out=out)
        self._raw[index] = raw
        self._values[index] = corrected.view(-1)[self._bad]
        return corrected

    def window(self, index: int, top: int, left: int, out: torch.Tensor) -> torch.Tensor:
        """Corrected pixels of a frame from row `top` and column `left` on, of the size of `out`,
        which is filled. Beyond the frame's edges the frame is mirrored."""
        height, width = self.shape
        bottom, right = top + out.shape[0], left + out.shape[1]
        if top >= 0 and left >= 0 and bottom <= height and right <= width:
            self._inside(index, top, left, out)
            return out
        rows, columns = _mirrored(top, bottom, height), _mirrored(left, right, width)
        y0, x0 = int(rows.min()), int(columns.min())
        inside = torch.empty(
            int(rows.max()) + 1 - y0, int(columns.max()) + 1 - x0, device=self._device
        )
        self._inside(index, y0, x0, inside)
        rows, columns = (rows - y0).to(self._device), (columns - x0).to(self._device)
        out.copy_(inside.index_select(0, rows).index_select(1, columns))
        return out

    def _inside(self, index: int, top: int, left: int, out: torch.Tensor) -> None:
        bottom, right = top + out.shape[0], left + out.shape[1]
        torch.mul(
            self._raw[index][top:bottom, left:right], self.gain[top:bottom, left:right], out=out
        )
        width = self.shape[1]
        first = bisect.bisect_left(self._bad_list, top * width)
        last = bisect.bisect_left(self._bad_list, bottom * width)
        if first == last:
            return
        flat = self._bad[first:last]
        column = flat % width - left
        here = (column >= 0) & (column < right - left)
        out[flat[here] // width - top, column[here]] = self._values[index][first:last][here]


def _pattern(shape: tuple[int, int], modulus: int) -> torch.Tensor:
    """Small whole numbers without the symmetry that would make a pixel its neighbours' mean."""
    row = (torch.arange(shape[0]) ** 2 % 251).to(torch.uint8)[:, None]
    column = (torch.arange(shape[1]) ** 3 % 241).to(torch.uint8)[None, :]
    return (row * column).bitwise_xor_(row).remainder_(modulus)


def _mirrored(start: int, stop: int, length: int) -> torch.Tensor:
    index = torch.arange(start, stop).remainder(2 * length)
    return torch.where(index < length, index, 2 * length - 1 - index)
