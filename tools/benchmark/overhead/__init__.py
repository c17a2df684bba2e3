"""Measures what InfoBatch costs: a module for each section of ``benchmark_overhead.py``."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
