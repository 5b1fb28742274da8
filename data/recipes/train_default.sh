#!/bin/sh
# Makes `default` and `tiny` from nothing: one training, two exports of its weights, their calibration.
# The same command again goes on where it stopped; STEPS=2 rehearses all of it in minutes.
# usage: data/recipes/train_default.sh LISTS OUTPUT [FLAG of `rivulet train`...]
#   LISTS holds train*.tsv, dev.tsv, noise.tsv, cmudict.txt and, if you have some, sentences*.txt, more text for the
#   phone n-gram. default.json weighs corpora by the first folder of a path or by the manifest's name.
#   On a CPU add --processes "$(nproc)".
# The language models and the beam's settings are those in checkpoints/, whose cards say how they were made.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
shipped=$here/../../checkpoints
lists=$1
out=$2
shift 2
mkdir -p "$out"

set -- --noise "$lists/noise.tsv" --dictionary "$out/dictionary.txt" ${STEPS:+--max-steps "$STEPS"} "$@"
sentences=$(ls "$lists"/sentences*.txt 2>/dev/null || true)
[ -s "$out/dictionary.txt" ] || rivulet data dictionary "$lists"/train*.tsv "$lists/dev.tsv" \
    --dictionary "$lists/cmudict.txt" --output "$out/dictionary.txt"
# shellcheck disable=SC2086  # several files
rivulet train --recipe "$here/default.json" --train "$lists"/train*.tsv --dev "$lists/dev.tsv" \
    --output "$out/run" ${sentences:+--sentences $sentences} "$@"

export_model() { # NAME BITS
    rivulet export "$out/run" --head bpe-1000 --phones phones --bits "$2" --name "$1" --beam "$shipped/$1" \
        --language-model "$shipped/$1/lm" --rounding-speech "$lists"/train*.tsv --output "$out/$1"
}
calibrate() { # after a rehearsal nothing is recognized, and that is no failure
    rivulet calibrate "$@" || [ -n "${STEPS:-}" ]
}
export_model default 16
export_model tiny 5
[ -s "$out/dev.ctm" ] || rivulet align --manifest "$lists/dev.tsv" --output "$out/dev.ctm"
for model in default tiny; do
    for decoder in greedy beam; do
        calibrate "$out/$model" --manifest "$lists/dev.tsv" --reference "$out/dev.ctm" --decoder $decoder
    done
    calibrate "$out/$model" --manifest "$lists/dev.tsv" --confidence
done
