"""How much larger the work of a job is than that of the reference sizes of the costs.

It is what is expected, for planning. What a job asks a scheduler for is on the safe side.
"""

from cryosnake.session.job_work import REFERENCE_MOVIE, Work

_BOX_PX, _CLASSES, _VOLUMES = 128, 100, 2
#: Parts of preprocessing that are the same for every movie, and that look at the sum.
_ALWAYS, _SUM = 0.015, 0.4


def size(rule: str, work: Work) -> float:
    """Work of a job against that of the reference sizes with the same number of units.

    Refinements do not count their box: what they compare is bounded by the resolution and by the
    particle's own size, which is not known before.
    """
    if rule == "preprocess":
        movie, usual = work.movie, REFERENCE_MOVIE
        area = movie.frame_mpx / usual.frame_mpx
        return _ALWAYS + _SUM * area + (1 - _ALWAYS - _SUM) * area * movie.frames / usual.frames
    if rule in ("particle_size", "pick_training", "pick"):
        return work.movie.frame_mpx / REFERENCE_MOVIE.frame_mpx
    if rule in ("class2d", "branch2d", "stream_class2d"):
        return (work.box_px / _BOX_PX) ** 2 * work.classes / _CLASSES
    if rule in ("abinitio", "class3d", "branch3d"):
        return work.volumes / _VOLUMES
    return 1.0
