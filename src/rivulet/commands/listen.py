"""`rivulet listen`: words while they are spoken into a microphone. Ctrl-C ends it."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from rivulet.commands.flags import add_recognizer_flags, load_recognizer, new_formatters, shown_for
from rivulet.errors import ConfigError, RecordingError
from rivulet.text.subtitles import SubtitleLayout
from rivulet.writers import FORMATS

if TYPE_CHECKING:
    from rivulet.live.console import Transcript
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
    add_recognizer_flags(parser)
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
    transcripts = _Transcripts(listening)
    try:
        with stopped_by_signals(listening), ExitStack() as stack:
            sinks = _sinks(args, layout, transcripts, stack)
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
    return int(transcripts.failed)


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


class _Transcripts:
    """Files and pipes that take the words; one that cannot be written any more ends alone.

    Where none is left, no screen shows the words and no recording keeps them, the session ends.
    """

    def __init__(self, listening: "LiveSession") -> None:
        """Write nothing yet."""
        self.failed = False
        self.on_screen = False
        self.listening = listening
        self._open: list[tuple[str, TextIO, Transcript]] = []

    def add(self, name: str, out: TextIO, kind: str, layout: SubtitleLayout) -> None:
        """Write `kind` to `out` as well, whose `name` an error says."""
        from rivulet.live.console import Transcript

        device = self.listening.source.format.device
        self._open.append((name, out, Transcript(kind, out, device, layout)))

    def write(self, event: "LiveEvent") -> None:
        """Write an event to all of them."""
        self._each(lambda transcript: transcript.write(event))

    def close(self) -> None:
        """Write what had to wait for the end."""
        self._each(lambda transcript: transcript.close(self.listening.now_s))

    def _each(self, do: "Callable[[Transcript], None]") -> None:
        for entry in tuple(self._open):
            name, out, transcript = entry
            try:
                do(transcript)
                out.flush()
            except BrokenPipeError:  # whoever read the words went away
                raise
            except OSError as error:
                self._open.remove(entry)
                self._give_up(name, out, error)

    def _give_up(self, name: str, out: TextIO, error: OSError) -> None:
        self.failed = True
        session = self.listening
        kept = session.saved_to is not None and session.unsaved is None
        goes_on = bool(self._open) or self.on_screen or kept
        sys.stderr.write(
            f"rivulet: {name} cannot be written any more ({error.strerror}) after "
            f"{session.now_s:.1f} s; "
            + ("the session goes on without it" if goes_on else "the session ends")
            + ", make room on the disk.\n"
        )
        with suppress(OSError):  # closed now, or its rest would be tried again at the end
            out.close()
        if not goes_on:
            session.stop()


def _sinks(
    args: argparse.Namespace,
    layout: SubtitleLayout,
    transcripts: _Transcripts,
    stack: ExitStack,
) -> "list[Callable[[LiveEvent], None]]":
    """Return where events go: the screen or standard output, and the file of --output."""
    from rich.console import Console

    from rivulet.live.console import LiveView

    listening = transcripts.listening
    format_name = args.format or "txt"
    sinks: list[Callable[[LiveEvent], None]] = [transcripts.write]
    if args.output is not None:
        out = args.output.open("w", encoding="utf-8")
        stack.callback(lambda: _close(out))
        transcripts.add(str(args.output), out, format_name, layout)
    to_screen = args.output is not None or args.format in (None, "txt")
    if sys.stdout.isatty() and to_screen:
        view = stack.enter_context(LiveView(Console(), listening.source.format.device))
        listening.on_block = view.meters
        transcripts.on_screen = True
        sinks.append(view.show)
    else:
        kind = "txt" if args.output is not None else format_name
        transcripts.add("standard output", sys.stdout, kind, layout)
        sinks.append(_warn)
    stack.callback(transcripts.close)  # the first thing that happens at the end
    return sinks


def _close(out: TextIO) -> None:
    with suppress(OSError):  # a full disk was told of when it happened
        out.close()


def _warn(event: "LiveEvent") -> None:
    """Print a warning where the transcript is not."""
    from rivulet.live.checks import InputWarning

    if isinstance(event, InputWarning):
        sys.stderr.write(f"rivulet: warning: {event.message}\n")
        sys.stderr.flush()
