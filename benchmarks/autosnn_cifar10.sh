#!/bin/sh
# AutoSNN's main experiment on CIFAR-10 (searches/autosnn_cifar10.toml), one part of at most MINUTES (default 9) for each call:
#
#     NEURODEPLOY_DATA=... sh benchmarks/autosnn_cifar10.sh [RUN] [OPTION of `neurodeploy search` ...]
#
# Give the same command again until it says that it is done: each call goes on where the one before stopped (a part ends as by
# Ctrl-C). Every stage but the last can be cut so; deployment and test, on one core of the CPU, are one piece each time: give it
# MINUTES=60, here or, with RUN copied there, on any machine. At the end the table lies in searches/results/, the network found in
# exports/. PYTHON names the interpreter, NAME the files.
set -u
RUN=${1:-runs/autosnn_cifar10}
[ $# -gt 0 ] && shift
PYTHON=${PYTHON:-python3}
NAME=${NAME:-autosnn_cifar10}
cd "$(dirname "$0")/.." || exit
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

if [ -e "$RUN/run.json" ]; then set -- --resume "$RUN"; else set -- --recipe autosnn_cifar10 --target loihi2 --out "$RUN" "$@"; fi
timeout --signal=INT --kill-after=60 "${MINUTES:-9}m" "$PYTHON" -m neurodeploy search "$@"
code=$?
case $code in
    0) "$PYTHON" benchmarks/collect_search.py "$RUN" "$NAME" && echo "done: searches/results/$NAME.md, exports/$NAME" ;;
    124 | 130 | 137) echo "not done: give the same command again (the last stage is one piece: MINUTES=60)" && exit 75 ;;
    *) exit $code ;;
esac
