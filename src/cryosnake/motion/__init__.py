"""Motion correction: whole-frame and local alignment, exposure weighting, sums."""

from cryosnake.motion.correct import correct_motion
from cryosnake.motion.result import LocalMotion, MotionResult
from cryosnake.motion.star import write_motion_star

__all__ = ["LocalMotion", "MotionResult", "correct_motion", "write_motion_star"]
