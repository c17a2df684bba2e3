#!/usr/bin/env bash
# Train as a Slurm job: PARTITION JOB_NAME CONFIG [arguments of train.py].
# Environment: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS as in OpenMMLab's script; PYTHON.
set -e
[ $# -ge 3 ] || { echo "usage: $0 PARTITION JOB_NAME CONFIG [arguments of train.py]" >&2; exit 2; }
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
# SRUN_ARGS is a list of options: it is split at white space on purpose.
# shellcheck disable=SC2086
exec srun -p "$1" --job-name="$2" \
    --gres="gpu:${GPUS_PER_NODE:-4}" --ntasks="${GPUS:-4}" --ntasks-per-node="${GPUS_PER_NODE:-4}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u -m mm_infobatch train "$3" --launcher=slurm "${@:4}"
