#!/usr/bin/env bash
# The extension's tests under the address and undefined-behavior sanitizers, then the fuzzer for SECONDS (30).
set -euo pipefail
seconds=${1:-30}
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
python=${PYTHON:-python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r src setup.py pyproject.toml README.md LICENSE checkpoints "$work"  # a library for these tests only
rm -f "$work"/src/rivulet/decoding/_beam*.so
CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g" \
  LDFLAGS="-fsanitize=address,undefined" bash -c "cd '$work' && '$python' setup.py -q build_ext --inplace"
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libstdc++.so)"
export PYTHONPATH="$work/src:tests"
"$python" -m pytest -q -p no:cacheprovider -o pythonpath="$work/src tests" tests/decoding -k "native or flashlight"
"$python" src/rivulet/decoding/_beam/fuzz.py --seconds "$seconds"
