"""Measures what InfoBatch costs: a module for each section of ``benchmark_overhead.py``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / 'tools'))  # of _common.py
