"""Flags that several commands share."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rivulet.acoustic.choices import BLOCK_MS, DEFAULT_BLOCK_MS, DEFAULT_ENGINE, ENGINES
from rivulet.endpoint import EndpointConfig
from rivulet.errors import ConfigError, reason
from rivulet.events import Final, Partial
from rivulet.text.subtitles import SubtitleLayout

if TYPE_CHECKING:
    from rivulet.live.stream import LiveEvent
    from rivulet.recognizer import Recognizer
    from rivulet.text.formatter import Formatter

BLOCKS = f"{', '.join(map(str, BLOCK_MS[:-1]))} or {BLOCK_MS[-1]}"
DEFAULT_BOOST = 4.0  # nats: an expected phrase then wins against one 50 times likelier


def finite(text: str) -> float:
    """Read a number, for argparse.

    Raises:
        ArgumentTypeError: it is none, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
    return value


def at_least_two(text: str) -> int:
    """Read a number of hypotheses, for argparse: one alone leaves nothing to choose from.

    Raises:
        ArgumentTypeError: it is no whole number, or less than 2.
    """
    if not text.strip().isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 2 on")
    return int(text)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Declare which model runs and how.

    A model that is not given is None until `fill_model_flags`: the module that knows the default
    imports much.
    """
    parser.add_argument("-m", "--model", help="model name or folder (default)")
    parser.add_argument(
        "--block-ms",
        type=int,
        default=DEFAULT_BLOCK_MS,
        metavar="MS",
        help=f"the model advances by so much sound at a time: {BLOCKS} (%(default)s)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=DEFAULT_ENGINE,
        help="what runs the network: ONNX Runtime, the same with weights of 8 bits, or PyTorch",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of the network (%(default)s)"
    )


def fill_model_flags(args: argparse.Namespace) -> None:
    """Put the default in the place of a model that was not given, and check the block.

    Raises:
        ConfigError: the block cannot be chosen.
    """
    from rivulet import checkpoint

    args.model = args.model or checkpoint.DEFAULT_NAME
    if args.block_ms not in BLOCK_MS:
        raise ConfigError(f"--block-ms {args.block_ms} cannot be used; choose one of {BLOCK_MS}.")


def add_decoder_flags(parser: argparse.ArgumentParser) -> None:
    """Declare how words are found."""
    group = parser.add_argument_group("decoding (the model's own settings where none is given)")
    group.add_argument(
        "--decoder",
        choices=("beam", "greedy"),
        help="beam: lexicon and language model; greedy: the acoustic model alone",
    )
    group.add_argument("--beam-size", type=at_least_two, metavar="N", help="hypotheses kept")
    group.add_argument("--lm-weight", type=finite, metavar="W", help="weight of the language model")
    group.add_argument(
        "--word-insertion-bonus", type=finite, metavar="NATS", help="added for every word"
    )
    group.add_argument(
        "--prior-weight", type=finite, metavar="W", help="of the phones' priors, taken off"
    )
    group.add_argument(
        "--subword-weight", type=finite, metavar="W", help="of the pieces a word is spelled with"
    )
    group.add_argument("--subword-bonus", type=finite, metavar="NATS", help="added for every piece")
    group.add_argument(
        "--hot-word",
        action="append",
        default=[],
        metavar="PHRASE[=NATS]",
        help=f"a phrase to expect, in any spelling, and its boost ({DEFAULT_BOOST})",
    )
    group.add_argument(
        "--hot-words", type=Path, metavar="FILE", help="the same, one a line; # begins a comment"
    )
    group.add_argument(
        "--alternatives",
        type=int,
        default=0,
        metavar="N",
        help="readings to give in json and jsonl",
    )


def read_hot_words(phrases: Sequence[str], file: Path | None) -> dict[str, float]:
    """Return phrases and boosts from `PHRASE[=NATS]`, the file's first.

    Raises:
        ConfigError: the file cannot be read, a phrase is empty, or a boost is no number.
    """
    lines: list[str] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the hot words in {file} cannot be read ({reason(error)})."
            ) from error
    if not all(phrase.strip() for phrase in phrases):
        raise ConfigError("--hot-word '' names 0 words; give a phrase, or leave it out.")
    found = {}
    for entry in [*(line.split("#")[0].strip() for line in lines), *phrases]:
        phrase, separator, boost = entry.rpartition("=")
        try:
            if entry:
                found[phrase.strip() if separator else entry] = (
                    finite(boost) if separator else DEFAULT_BOOST
                )
        except argparse.ArgumentTypeError as error:
            raise ConfigError(
                f"the boost of the hot phrase {entry!r} is no number; write PHRASE=NATS, for "
                f"example {phrase.strip()}={DEFAULT_BOOST}."
            ) from error
    return found


def add_endpoint_flags(parser: argparse.ArgumentParser) -> None:
    """Declare when a segment ends."""
    default = EndpointConfig()
    group = parser.add_argument_group("endpoints (Kaldi's rules, in seconds; inf switches one off)")
    group.add_argument(
        "--no-speech-timeout",
        type=float,
        default=default.no_speech_timeout_s,
        metavar="S",
        help="silence that ends a segment without speech (%(default)s)",
    )
    group.add_argument(
        "--trailing-silence",
        type=float,
        default=default.trailing_silence_s,
        metavar="S",
        help="silence that ends a segment after speech (%(default)s)",
    )
    group.add_argument(
        "--max-segment",
        type=float,
        default=default.max_segment_s,
        metavar="S",
        help="the longest segment (%(default)s)",
    )


def add_text_flags(parser: argparse.ArgumentParser, subtitles: bool = True) -> None:
    """Declare how text is shown."""
    group = parser.add_argument_group("text")
    group.add_argument(
        "--raw", action="store_true", help="as recognized: upper case, no punctuation, no digits"
    )
    group.add_argument(
        "--numbers", choices=("digits", "words"), default="digits", help="(%(default)s)"
    )
    group.add_argument(
        "--clean", action="store_true", help="leave out um, uh and words said twice by mistake"
    )
    group.add_argument(
        "--language", default="english", metavar="NAME|DIR", help="how it is written (%(default)s)"
    )
    if subtitles:
        layout = SubtitleLayout()
        group.add_argument(
            "--line-width",
            type=int,
            default=layout.line_width,
            metavar="N",
            help="characters in a line of subtitles (%(default)s)",
        )
        group.add_argument(
            "--max-lines",
            type=int,
            default=layout.max_lines,
            metavar="N",
            help="lines of subtitles at a time (%(default)s)",
        )


def add_recognizer_flags(parser: argparse.ArgumentParser, subtitles: bool = True) -> None:
    """Declare which model runs, how words are found, when a segment ends and how text is shown."""
    add_model_flags(parser)
    add_decoder_flags(parser)
    add_endpoint_flags(parser)
    add_text_flags(parser, subtitles)


def add_track_flag(parser: argparse.ArgumentParser) -> None:
    """Declare which track of a film is heard."""
    parser.add_argument(
        "--track", type=int, metavar="N", help="which sound track, from 1 (the default one)"
    )


def new_formatters(args: argparse.Namespace) -> "Callable[[], Formatter | None]":
    """Return what makes the formatter of each stream; none for raw text.

    Raises:
        CheckpointError: the language cannot be read.
    """
    if args.raw:
        return lambda: None
    from rivulet.text.formatter import FormatConfig, Formatter
    from rivulet.text.language import WrittenLanguage

    language = WrittenLanguage.load(args.language)
    config = FormatConfig(args.numbers, args.clean)
    return lambda: Formatter(language, config)


def shown_for(event: "LiveEvent", formatter: "Formatter | None") -> "LiveEvent":
    """Return the event with what is shown for it; gaps and warnings as they are."""
    if formatter is None or not isinstance(event, (Partial, Final)):
        return event
    return formatter.push(event)


def load_recognizer(args: argparse.Namespace) -> "Recognizer":
    """Return the recognizer that the flags describe."""
    from rivulet.recognizer import Recognizer

    fill_model_flags(args)
    if args.threads < 1:
        raise ConfigError(f"{args.threads} threads cannot compute; use at least 1.")
    endpoint = EndpointConfig(args.no_speech_timeout, args.trailing_silence, args.max_segment)
    recognizer = Recognizer.load(
        args.model, args.block_ms, endpoint, args.decoder, args.engine, args.threads
    )
    return with_decoder_flags(recognizer, args)


def with_decoder_flags(recognizer: "Recognizer", args: argparse.Namespace) -> "Recognizer":
    """Return the recognizer as the flags of the beam and of hot words say.

    Raises:
        ConfigError: they need the beam or the priors, which it has not, or are no numbers that fit.
    """
    beam = recognizer.settings.beam
    given = {field.name: getattr(args, field.name, None) for field in fields(beam)}
    changed = {name: value for name, value in given.items() if value is not None}
    hot_words = read_hot_words(args.hot_word, args.hot_words)
    if args.alternatives < 0:
        raise ConfigError(f"{args.alternatives} alternatives cannot be given; ask for 0 or more.")
    asked = changed or hot_words or args.alternatives
    if recognizer.settings.name == "greedy" and asked:
        raise ConfigError(
            "beam settings, hot words and alternatives need the beam, and this is greedy decoding; "
            "leave them out, or use a model with a language model and --decoder beam."
        )
    if args.prior_weight is not None and not recognizer.checkpoint.beam.priors:
        raise ConfigError(
            f"the model {recognizer.checkpoint.name} knows 0 priors, so --prior-weight changes "
            "nothing; measure them with `rivulet calibrate --priors`."
        )
    if not asked:
        return recognizer
    return recognizer.with_settings(
        replace(
            recognizer.settings,
            beam=replace(beam, **changed),
            alternatives=args.alternatives,
            hot_words=tuple(hot_words.items()),
        )
    )
