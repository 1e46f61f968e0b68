"""Early structural feedback: what 2D class averages alone say about the specimen."""

from cryosnake.feedback.run import RULES, structural_feedback

__all__ = ["RULES", "structural_feedback"]
