#!/usr/bin/env bash
# Test on several processes: CONFIG CHECKPOINT GPUS [arguments of test.py].
# Without an accelerator, GPUS is the number of CPU processes.
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT as in OpenMMLab's script; PYTHON.
set -e
[ $# -ge 3 ] || { echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of test.py]" >&2; exit 2; }
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" -m mm_infobatch test "$1" "$2" --gpus "$3" "${@:4}"
