#!/bin/sh
# Makes both shipped models from the manifests: about nine hours on two cores, and the ninth training, which is
# ten minutes on an H200 and was not run without one.
# The same command again goes on where it stopped. STEPS=2 rehearses every step of it in minutes.
# usage: docs/lab/recipes/shipped.sh SHARED OUTPUT
set -eu
recipes=$(dirname "$0")
speech=$(cd "$1/speech" && pwd)
text=$(cd "$1/text" && pwd)
noise=$(cd "$1/noise" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)

# Lists lie beside links to the recordings, so that their relative paths hold.
for folder in "$speech"/*/; do
    ln -sfn "${folder%/}" "$out/$(basename "$folder")"
done
cp "$speech/train.tsv" "$speech/dev.tsv" "$out/"
# Every second utterance of one speaker's corpora left out, of accents and unknown microphones twice.
for odd in 0 1; do
    awk -F'\t' -v OFS='\t' -v odd=$odd 'NR == 1 {print; next} {split($2, part, "/")}
        part[1] ~ /kathleen|asterisk|ljspeech/ && NR % 2 == odd {next} {print}
        part[1] ~ /speechocean|common-voice/ && NR % 2 == odd {print}' "$out/train.tsv" >"$out/weighed-$odd.tsv"
done
awk 'NR == 1 || FNR > 1' "$out/weighed-0.tsv" "$out/weighed-1.tsv" >"$out/weighed.tsv"
awk -F'\t' 'NR == 1 || $2 ~ /librispeech/ && n++ % 3 == 0' "$out/dev.tsv" >"$out/dev-librispeech.tsv"
awk 'NR == 1 || n++ % 3 == 0' "$out/dev.tsv" >"$out/dev3.tsv"
[ -s "$out/noise.tsv" ] || rivulet data noise "$noise" --exclude dude_miaowing Rooster --output "$out/noise.tsv"
[ -s "$out/dictionary.txt" ] || rivulet data dictionary "$out/train.tsv" "$out/dev.tsv" \
    --dictionary "$text/cmudict-0.6.txt.gz" --output "$out/dictionary.txt"

train() { # RECIPE LIST [FLAG...]
    recipe=$1
    list=$2
    shift 2
    rivulet train --recipe "$recipes/$recipe.json" --train "$out/$list.tsv" --dev "$out/dev.tsv" \
        --noise "$out/noise.tsv" --dictionary "$out/dictionary.txt" --output "$out/$recipe" \
        "$@" ${STEPS:+--max-steps "$STEPS"}
}
mean() { # NAME RUN OTHER: their weights' mean, to begin the next run with
    rivulet export "$out/$2" --average "$out/$3" --head bpe-1000 --phones phones --bits 32 --output "$out/$1"
}
train first train --max-steps 3353
train second train --start "$out/first" --max-steps 2872
train third train --start "$out/second" --max-steps 3350
train fourth train --start "$out/third" --processes 2
train fifth weighed-1 --start "$out/fourth" --processes 2
mean mean5 fifth fourth
train sixth weighed-0 --start "$out/mean5" --processes 2
mean mean6 sixth mean5
train seventh weighed-1 --start "$out/mean6" --processes 2
mean mean7 seventh mean6
train ninth weighed --start "$out/mean7" --max-steps 7326

language_model() { # FOLDER FLAG...: built beside it first, so that what stands there is whole
    folder=$1
    shift
    [ -d "$folder" ] && return
    rivulet lm tools
    rm -rf "$folder.part"
    rivulet lm build "$@" --dictionary "$text/cmudict-0.6.txt.gz" --dictionary pocketsphinx --output "$folder.part"
    mv "$folder.part" "$folder"
}
cut -f 5 "$out/train.tsv" | tail -n +2 | sort -u >"$out/transcripts.txt"
language_model "$out/lm" "$out/transcripts.txt" --arpa "$text/english-3gram.arpa.xz" --mix 0.15 \
    --held-out 2000 --write-arpa "$out/mixed.arpa"
language_model "$out/lm-small" --arpa "$out/mixed.arpa" --vocabulary 30000 --entropy-prune 3.8e-7 --no-g2p

# The beam's settings were chosen by hand (docs/lab): those of the installed models.
export_model() { # NAME LANGUAGE-MODEL BITS
    rivulet export "$out/ninth" --head bpe-1000 --phones phones \
        --language-model "$out/$2" --bits "$3" --beam "$1" --name "$1" --output "$out/$1"
}
export_model default lm 16
export_model tiny lm-small 5
calibrate() { # after a rehearsal nothing is recognized, and that is no failure
    rivulet calibrate "$@" || [ -n "${STEPS:-}" ]
}
rivulet align --manifest "$out/dev-librispeech.tsv" --output "$out/dev-librispeech.ctm"
for model in default tiny; do
    calibrate "$out/$model" --manifest "$out/train.tsv" --priors --limit 600
    for decoder in greedy beam; do
        calibrate "$out/$model" --manifest "$out/dev-librispeech.tsv" \
            --reference "$out/dev-librispeech.ctm" --decoder $decoder
    done
    calibrate "$out/$model" --manifest "$out/dev3.tsv" --confidence
done
