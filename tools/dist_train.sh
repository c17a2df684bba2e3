#!/usr/bin/env bash
# Train on several processes: CONFIG GPUS [arguments of train.py].
# Without an accelerator, GPUS is the number of CPU processes.
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT as in OpenMMLab's script; PYTHON.
set -e
[ $# -ge 2 ] || { echo "usage: $0 CONFIG GPUS [arguments of train.py]" >&2; exit 2; }
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m mm_infobatch train "$1" --gpus "$2" "${@:3}"
