"""Scores for static pruning: what is extracted from a trained classifier, and a file per method."""
