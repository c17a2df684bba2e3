"""Runs experiments, keeps their records, and writes what documents show of them."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / 'tools'))  # of train.py and what reads its logs
