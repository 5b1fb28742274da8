#!/usr/bin/env bash
# The tests of both extensions under the address and undefined-behavior sanitizers, then the fuzzer for SECONDS (30).
set -euo pipefail
seconds=${1:-30}
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"
python=${PYTHON:-python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r src tests setup.py pyproject.toml README.md LICENSE "$work"  # what is tested does not change midway
mkdir -p "$work/checkpoints"
rm -f "$work"/src/rivulet/{decoding/_beam,text/_tagger}*.so
cd "$work"
CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g" \
  LDFLAGS="-fsanitize=address,undefined" "$python" setup.py -q build_ext --inplace
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libstdc++.so)"
export PYTHONPATH=src:tests
"$python" -m pytest -q -p no:cacheprovider tests/decoding tests/text -k "native or flashlight"
"$python" src/rivulet/decoding/_beam/fuzz.py --seconds "$seconds"
