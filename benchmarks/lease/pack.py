"""What `train.py` needs on a lent machine, in files that travel one a call: see README.md.

`data.pickle` holds a `Packed`, `start.pt` the weights to begin with, the feature statistics and the
phone n-gram, `sound0.bin` … the recordings: eight bytes with the length of a JSON header, the
header ([names, sizes]), the files. Large files are encoded anew as Opus.
"""

import argparse
import io
import json
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import av
import torch
from packed import Packed

from rivulet import audio
from rivulet.corpora.manifest import Utterance, read_manifest
from rivulet.language.files import open_packed
from rivulet.training import targets
from rivulet.training.config import Recipe, read_recipe
from rivulet.training.denominator import Denominator, phone_ngram
from rivulet.training.heads import HeadedModel
from rivulet.training.initial_weights import InitialWeights, read_initial_weights

MOST_BYTES = 57_800_000  # a pack and the tree beside it stay below 64 MiB
FIRST_BYTES = 26_000_000  # which travels with weights, targets and wheels
LARGE = 3_300  # bytes a second from which on a file is encoded anew,
BIT_RATE = 18_000  # at so many bits a second


def main() -> None:
    """Write the files."""
    args = read_arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    recipe, start = read_recipe(args.recipe), read_initial_weights(args.start)
    listed = [(u, path.stem) for path in args.train for u in read_manifest(path)][:: args.every]
    dev, noise = read_manifest(args.dev)[:: args.every], read_manifest(args.noise)
    train = [utterance for utterance, _ in listed]
    heads = make_heads(start, args.dictionary)
    texts, dev_texts = [u.text for u in train], [u.text for u in dev]
    encoded = {head.name: [head.encode(text) for text in texts] for head in heads}
    packed = Packed(
        recipe,
        {head.name: tuple(head.tokenizer.tokens) for head in heads},
        names(train, "train"),
        [recipe.corpus_weight(utterance.set_name, stem) for utterance, stem in listed],
        encoded,
        names(dev, "dev"),
        dev_texts,
        {head.name: [head.encode(text) for text in dev_texts] for head in heads},
        names(noise, "noise"),
    )
    (args.output / "data.pickle").write_bytes(pickle.dumps(packed))
    sentences = [line for path in args.sentences for line in open_packed(path)]
    write_start(args.output / "start.pt", recipe, start, heads, encoded, sentences)
    every = [*train, *dev, *noise]
    write_sound(args.output, [*packed.train, *packed.dev, *packed.noise], every)


def read_arguments() -> argparse.Namespace:
    """Declare and read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", required=True, metavar="CHECKPOINT")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True, nargs="+")
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--dictionary", type=Path, required=True)
    parser.add_argument("--sentences", type=Path, nargs="*", default=[], help="for the n-gram")
    parser.add_argument("--every", type=int, default=1, help="every Nth utterance: a rehearsal")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def names(utterances: Sequence[Utterance], kind: str) -> list[str]:
    """Name the sound of each utterance."""
    return [f"{kind}/{utterance.id}" for utterance in utterances]


def make_heads(start: InitialWeights, dictionary: Path) -> list[targets.Target]:
    """Return the subwords of the weights to begin with, and phones."""
    pieces = next(tokenizer for tokenizer, _, _ in start.heads if targets.is_bpe(tokenizer))
    return [targets.bpe(pieces), targets.phones(dictionary, "phones")]


def write_start(
    path: Path,
    recipe: Recipe,
    start: InitialWeights,
    heads: Sequence[targets.Target],
    encoded: targets.Encoded,
    sentences: Sequence[str],
) -> None:
    """Write weights in half precision, statistics, and the denominator of MMI."""
    tokenizers = {head.name: head.tokenizer for head in heads}
    sizes = {name: len(tokenizer) for name, tokenizer in tokenizers.items()}
    model = HeadedModel(recipe.model, sizes, {})
    start.give_to(model, tokenizers)
    spoken = {tuple(ids) for ids in encoded["phones"] if ids}  # a text read by many counts once
    written = [ids for line in sentences if (ids := heads[1].encode(line.strip()))]
    sequences = [*sorted(spoken), *map(tuple, written)]
    ngram = phone_ngram(sequences, sizes["phones"], recipe.phone_lm_order)
    denominator = Denominator.of(ngram)
    torch.save(
        {
            "weights": {name: weight.half() for name, weight in model.state_dict().items()},
            "mean": start.statistics.mean,
            "std": start.statistics.std,
            "leave": denominator.leave,
            "end": denominator.end,
        },
        path,
    )


def write_sound(folder: Path, called: Sequence[str], utterances: Sequence[Utterance]) -> None:
    """Write the packs, each but the first as large as the others."""
    with ProcessPoolExecutor() as pool:
        files = list(pool.map(small_file, utterances, chunksize=64))
    total = sum(map(len, files))
    later = -(-max(0, total - FIRST_BYTES) // MOST_BYTES)
    share = max(1, (total - FIRST_BYTES) / max(1, later))
    packs: list[list[int]] = [[] for _ in range(1 + later)]
    before = 0
    for index, data in enumerate(files):
        beyond = before - FIRST_BYTES
        packs[0 if beyond < 0 else min(later, 1 + int(beyond / share))].append(index)
        before += len(data)
    for number, members in enumerate(packs):
        sizes = [len(files[index]) for index in members]
        header = json.dumps([[called[index] for index in members], sizes]).encode()
        body = b"".join(files[index] for index in members)
        whole = len(header).to_bytes(8, "little") + header + body
        (folder / f"sound{number}.bin").write_bytes(whole)
        print(f"sound{number}.bin: {len(members)} files, {len(whole) / 1e6:.1f} MB")


def small_file(utterance: Utterance) -> bytes:
    """Return a recording as it lies there, or as Opus if it is large."""
    if utterance.path.stat().st_size < LARGE * utterance.seconds:
        return utterance.path.read_bytes()
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as out:
        stream = out.add_stream("libopus", rate=audio.SAMPLE_RATE, layout="mono")
        stream.bit_rate = BIT_RATE
        samples = audio.to_int16(audio.load(utterance.path))
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = audio.SAMPLE_RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
