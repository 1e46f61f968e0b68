"""Motion correction: whole-frame and local alignment, exposure weighting, sums."""

from cryosnake.motion.correct import correct_motion
from cryosnake.motion.result import LocalMotion, MotionResult

__all__ = ["LocalMotion", "MotionResult", "correct_motion"]
