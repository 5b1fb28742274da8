"""`rivulet evaluate --manifest FILE.tsv`: word and character error rate, real-time factor."""

import argparse
import json
from pathlib import Path
from typing import Any

from rivulet.commands.flags import (
    add_decoder_flags,
    add_endpoint_flags,
    add_model_flags,
    load_recognizer,
)

WORST = 10  # utterances shown


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("evaluate", help="error rates on a manifest", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE.tsv")
    add_model_flags(parser)
    add_decoder_flags(parser)
    add_endpoint_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print a table, the worst utterances, and one JSON object as the last line."""
    from rich.console import Console
    from rich.progress import Progress

    from rivulet.corpora.manifest import read_manifest
    from rivulet.evaluation.transcripts import Evaluation, UtteranceResult, evaluate

    utterances = read_manifest(args.manifest)
    recognizer = load_recognizer(args)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("evaluating", total=len(utterances))

        def each(result: UtteranceResult) -> None:
            progress.advance(task)

        evaluation: Evaluation = evaluate(recognizer, utterances, each)
    _print(evaluation)
    return 0


def _print(evaluation: Any) -> None:
    from rivulet.evaluation.transcripts import rate

    rows = {}
    print(f"{'set':32} {'words':>7} {'WER %':>7} {'CER %':>7}")
    for name, results in evaluation.sets().items():
        words = sum(r.words.reference for r in results)
        wer, cer = rate([r.words for r in results]), rate([r.characters for r in results])
        rows[name] = {"wer": round(wer, 5), "cer": round(cer, 5), "words": words}
        print(f"{name:32} {words:7} {100 * wer:7.2f} {100 * cer:7.2f}")
    words = sum(r.words.reference for r in evaluation.results)
    false_words = evaluation.false_words_per_hour
    print(f"{'all':32} {words:7} {100 * evaluation.wer:7.2f} {100 * evaluation.cer:7.2f}")
    if false_words is not None:
        print(f"false words per hour of sound without speech: {false_words:.1f}")
    print(f"\nthe {min(WORST, len(evaluation.results))} worst utterances")
    for result in evaluation.worst(WORST):
        print(f"  {result.utterance.id}: {result.words.errors} errors in {result.words.reference}")
        print(f"    reference  {result.utterance.text}\n    hypothesis {result.text}")
    summary = {
        "wer": round(evaluation.wer, 5),
        "cer": round(evaluation.cer, 5),
        "sets": rows,
        "rtf": round(evaluation.rtf, 4),
        "seconds": round(evaluation.audio_s, 2),
    }
    if false_words is not None:
        summary["false_words_per_hour"] = round(false_words, 2)
    print(json.dumps(summary))
