"""The passes of a run: schedule, plan, order, scores."""
