"""What a session costs, step by step, and what that means before it begins."""

from cryosnake.plan.costs import COSTS, Cost, Costs

__all__ = ["COSTS", "Cost", "Costs"]
