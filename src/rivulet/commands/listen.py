"""`rivulet listen`: words while they are spoken into a microphone. Ctrl-C ends it."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rivulet.commands.flags import (
    add_decoder_flags,
    add_endpoint_flags,
    add_model_flags,
    add_text_flags,
    load_recognizer,
    new_formatters,
    shown_for,
)
from rivulet.errors import ConfigError, RecordingError
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import FORMATS

if TYPE_CHECKING:
    from rivulet.live.listening import LiveSession
    from rivulet.live.stream import LiveEvent


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("listen", help="a microphone to text, live", description=__doc__)
    parser.add_argument(
        "-l", "--list", action="store_true", help="list the input devices; * is the default"
    )
    add_device_flags(parser)
    parser.add_argument(
        "--save", type=Path, metavar="PATH", help="keep the session for `rivulet replay`"
    )
    parser.add_argument("-t", "--format", choices=FORMATS, help="of the transcript (txt)")
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="write it here as well")
    parser.add_argument(
        "--queue",
        type=float,
        metavar="S",
        help="seconds of sound that may wait for the recognizer (10)",
    )
    add_model_flags(parser)
    add_decoder_flags(parser)
    add_endpoint_flags(parser)
    add_text_flags(parser)
    parser.set_defaults(run=run)


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    """Declare which microphone is opened and how."""
    parser.add_argument("-d", "--device", metavar="DEVICE", help="its index or part of its name")
    parser.add_argument("-r", "--rate", type=int, metavar="HZ", help="(the device's own)")
    parser.add_argument("-c", "--channels", type=int, metavar="N", help="mixed to one (at most 2)")


def run(args: argparse.Namespace) -> int:
    """Listen until Ctrl-C; return 0, or raise what ended it after everything is written."""
    if args.list:
        return list_devices()
    if args.output is not None and not args.output.parent.is_dir():
        raise ConfigError(f"the folder {args.output.parent} does not exist; make it first.")
    if args.output is not None and args.output.is_file():
        raise ConfigError(f"{args.output} is there already; name another with --output.")
    return _listen(args)


def _listen(args: argparse.Namespace) -> int:
    from rivulet.live import microphone
    from rivulet.live.listening import LiveSession

    layout = SubtitleLayout(args.line_width, args.max_lines)
    formatter = new_formatters(args)()
    queue_s = microphone.QUEUE_S if args.queue is None else args.queue
    source = microphone.microphone(args.device, args.rate, args.channels, queue_s)
    try:
        recognizer = load_recognizer(args)  # seconds, so after the microphone was found
    except BaseException:
        source.close()
        raise
    listening = LiveSession(recognizer, source, args.save)
    sinks: list[Callable[[LiveEvent], None]] = []
    try:
        with stopped_by_signals(listening), ExitStack() as stack:
            sinks = _sinks(args, layout, listening, stack)
            for event in listening:
                shown = shown_for(event, formatter)
                for sink in sinks:
                    sink(shown)
    except RecordingError:
        if listening.unsaved is None or _warn not in sinks:
            raise
        return 1  # the sentence went to standard error when it happened
    finally:
        source.close()
        sys.stderr.write(f"rivulet: {listening.summary}\n")
        if listening.saved_to is not None:
            part = (
                "" if listening.unsaved is None else f", its first {listening.saved_s:.1f} s only"
            )
            sys.stderr.write(f"rivulet: saved as {listening.saved_to}{part}\n")
    return 0


def list_devices() -> int:
    """Print every input device with its host, rates and channels."""
    from rivulet.live import devices

    known = devices.devices()
    devices.find_device(known)  # says what to do where there is none
    for device in known:
        rates = " ".join(map(str, devices.accepted_rates(device)))
        print(
            f"{'*' if device.default else ' '} {device.index:2}  {device.name}  [{device.host}]  "
            f"{device.channels} ch  {device.sample_rate} Hz (also {rates})"
        )
    return 0


@contextmanager
def stopped_by_signals(listening: "LiveSession") -> Iterator[None]:
    """Turn the first Ctrl-C, or a terminate signal, into a tidy end; a second one is not caught."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        listening.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sinks(
    args: argparse.Namespace,
    layout: SubtitleLayout,
    listening: "LiveSession",
    stack: ExitStack,
) -> "list[Callable[[LiveEvent], None]]":
    """Return where events go: the screen or standard output, and the file of --output."""
    from rich.console import Console

    from rivulet.live.console import LiveView, Transcript

    format_name = args.format or "txt"
    device = listening.source.format.device
    sinks: list[Callable[[LiveEvent], None]] = []

    def transcript(out: Any, kind: str) -> None:
        written = Transcript(kind, out, device, layout)
        stack.callback(lambda: written.close(listening.now_s))
        sinks.append(written.write)

    if args.output is not None:
        transcript(stack.enter_context(args.output.open("w", encoding="utf-8")), format_name)
    to_screen = args.output is not None or args.format in (None, "txt")
    if sys.stdout.isatty() and to_screen:
        view = stack.enter_context(LiveView(Console(), device))
        listening.on_block = view.meters
        sinks.append(view.show)
    else:
        transcript(sys.stdout, "txt" if args.output is not None else format_name)
        sinks.append(_warn)
    return sinks


def _warn(event: "LiveEvent") -> None:
    """Print a warning where the transcript is not."""
    from rivulet.live.checks import InputWarning

    if isinstance(event, InputWarning):
        sys.stderr.write(f"rivulet: warning: {event.message}\n")
        sys.stderr.flush()
