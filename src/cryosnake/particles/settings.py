"""How particles are extracted, and which sizes fit together."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ExtractionSettings:
    """How particles are cut out of micrographs.

    Attributes
    ----------
    box_px : side of the window on the full-size micrograph; even.
    output_px : side of the image after rescaling in Fourier space; even, not above `box_px`.
    radius_angst : the particle is inside; mean and standard deviation of the background are those
        outside.
    diameter_angst : of the sphere of the particle's mean size; what the flags are measured by.
    invert : white particles from a micrograph on which they are dark.
    ramp : subtract the plane that fits the background, not its mean only.
    dust_sigma : pixels of the micrograph that differ from their surroundings by more standard
        deviations become noise; 0 leaves all as they are.
    phase_flip : multiply by the sign of the CTF.
    flatten : divide the micrograph by its amplitude spectrum first (`flatten.flattened`).
    recentre : put the box where the table's `rlnOriginX/YAngst` say the particle is; otherwise
        where its coordinates are. It matters for re-extraction only.
    float16 : write 16-bit floats (MRC mode 12) in place of 32-bit ones (mode 2).
    seed : of the noise that replaces dust.
    """

    box_px: int
    output_px: int
    radius_angst: float
    diameter_angst: float
    invert: bool = True
    ramp: bool = True
    dust_sigma: float = 6.0
    phase_flip: bool = False
    flatten: bool = False
    recentre: bool = True
    float16: bool = False
    seed: int = 1

    def __post_init__(self):
        if self.box_px % 2 or self.output_px % 2 or not 0 < self.output_px <= self.box_px:
            raise ValueError(
                f"box_px = {self.box_px} and output_px = {self.output_px} must be even, and the "
                "output not larger than the box"
            )
        if not self.radius_angst > 0 or not self.diameter_angst > 0:
            raise ValueError(f"{self.radius_angst = } and {self.diameter_angst = } must be > 0")
        if self.dust_sigma < 0:
            raise ValueError(f"{self.dust_sigma = } must not be negative")

    def output_pixel_angst(self, pixel_size_angst: float) -> float:
        """Pixel size of the extracted image, from that of the micrograph."""
        return pixel_size_angst * self.box_px / self.output_px

    def radius_px(self, pixel_size_angst: float) -> float:
        """Radius of the particle in pixels of the extracted image.

        Raises
        ------
        ValueError : it leaves no background in the box.
        """
        radius = self.radius_angst / self.output_pixel_angst(pixel_size_angst)
        if radius > self.output_px / 2:
            raise ValueError(
                f"radius_angst = {self.radius_angst:g} does not fit the box of {self.box_px} px of "
                f"{pixel_size_angst:g} A: half of it is {self.box_px * pixel_size_angst / 2:g} A"
            )
        return radius


def output_for_pixel_size(box_px: int, pixel_size_angst: float, wanted_angst: float) -> int:
    """The even side to which a box is rescaled for a pixel size as near as can be to the wanted.

    It is never larger than the box: there is nothing beyond the micrograph's own resolution.
    """
    side = 2 * round(box_px * pixel_size_angst / wanted_angst / 2)
    return max(2, min(side, box_px - box_px % 2))
