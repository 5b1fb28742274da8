#!/bin/sh
# The latency table and the pictures of the README: rivulet against PocketSphinx on the same clips.
# usage: benchmarks/latency.sh [MANIFEST.tsv] [CLIPS]
set -eu
cd "$(dirname "$0")/.."
manifest=${1:-../shared/speech/dev.tsv}
clips=${2:-1000}
export OMP_NUM_THREADS=1
export PYTHONPATH=src
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
# exit status 1: a few clips could not be aligned; they are named and left out
python -m rivulet align --manifest "$manifest" --limit "$clips" -o "$work/words.ctm" || [ -s "$work/words.ctm" ]
python -m rivulet bench latency --manifest "$manifest" --limit "$clips" \
    --reference "$work/words.ctm" --chunk-ms 20,80,320 --system rivulet,pocketsphinx --jobs 2 \
    --json benchmarks/results/latency-dev.json --plot docs/latency.png |
    tee "$work/out"
sed '$d' "$work/out" >benchmarks/results/latency-dev.md
