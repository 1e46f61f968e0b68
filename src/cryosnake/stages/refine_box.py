"""The box in which the particles of a refinement are cut out."""

from cryosnake.config.model import Config
from cryosnake.particles import output_for_pixel_size
from cryosnake.picking.size_model import ParticleSize, delocalisation_angst, good_box_px

#: Box over the particle's long axis: at least, and at most, where what the CTF carries out of the
#: particle asks for more. Beyond that the masks of a refinement cut anyway.
LEAST_BOX, LARGEST_BOX = 1.5, 2.0


def refinement_box(
    size: ParticleSize,
    pixel_size_angst: float,
    config: Config,
    *,
    defocus_angst: float,
    voltage_kv: float,
) -> tuple[int, int]:
    """Side of the box on the micrograph, and of the image, in pixels.

    The box holds one and a half times the long axis, and what the CTF carries out of the particle
    on both sides at the resolution aimed at (twice the new pixel, or the target if that is
    coarser), but not more than two long axes. A box that is configured is kept.
    """
    wanted_angst = max(config.refine.pixel_size_angst, pixel_size_angst)
    if config.particles.box_px is not None:
        box_px = config.particles.box_px
        return box_px, output_for_pixel_size(box_px, pixel_size_angst, wanted_angst)
    carried_angst = delocalisation_angst(
        max(2.0 * wanted_angst, config.refine.target_angst),
        defocus_angst=defocus_angst,
        voltage_kv=voltage_kv,
    )
    long_axis = size.long_axis_angst
    box_angst = min(long_axis + 2.0 * carried_angst, LARGEST_BOX * long_axis)
    output_px = good_box_px(max(box_angst, LEAST_BOX * long_axis) / wanted_angst)
    box_px = 2 * round(output_px * wanted_angst / pixel_size_angst / 2)
    return max(box_px, output_px), output_px
