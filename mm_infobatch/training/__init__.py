"""What a training run needs besides passes and losses: checks, state, report."""
