"""Runs experiments, keeps their records, and writes what documents show of them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
