"""A long file in parts that are worked on apart, and joined only where that is proved to be exact.

What the network remembers fades and never becomes the same bits again, so a part may not simply
begin somewhere. But after `RESET_AFTER_SILENCE_S` without speech a stream clears the network's
memory, and the end of a segment clears the decoder's. A part therefore begins some seconds before a
long pause, and the part before it goes on beyond that pause. Both write a mark at every end of a
segment there: a digest of all that the rest depends on. Where two parts have the same mark, what
the later one makes of the rest is what the earlier one would have made, bit for bit. Where they
have none in common, they are done again as one.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.engine import FloatArray
from rivulet.acoustic.frames import FRAME_S, HOP, STRIDE, output_frames
from rivulet.acoustic.frontend import Frontend, SampleBlock
from rivulet.audio import SAMPLE_RATE, Samples
from rivulet.decoding.decoder import DecodedWord, Decoder, WrappedDecoder
from rivulet.decoding.search import BLANK_SKIP_LOGP, TIE_BREAK_FRAMES
from rivulet.decoding.subwords import FLOOR as PIECE_FLOOR
from rivulet.endpoint import EndpointConfig
from rivulet.events import Event, Final
from rivulet.recognizer import Recognizer
from rivulet.segmenter import RESET_AFTER_SILENCE_S
from rivulet.stream import Stream
from rivulet.tokenizer import BLANK_ID

PART_S = 180.0  # at least so long is a part; a pause after that ends it
WARM_UP_S = 30.0  # of speech before a pause: the later it begins, the likelier it hears otherwise
RUN_ON_S = 20.0  # beyond a pause: parts that heard it begin a frame apart agree a segment later
SLACK_S = 1.5  # what the recognizer hears ends so much after the loudness does, at the most
MOST_PARTS = 1000
LEVEL_S = 0.1  # seconds whose loudness is one number
SPEECH_SHARE = 0.95  # of these numbers: those below are no louder than speech is
QUIET_DB = 25.0  # below speech: a pause, where the room is quiet enough
LOUD_MOMENTS = 0.05  # of a pause may be louder: a door, a click
SAMPLES_PER_FRAME = STRIDE * HOP


@dataclass(frozen=True)
class Span:
    """Samples [start, stop) of a file; the first begins at 0, the last ends with the file.

    shared_until: up to this sample the part before may go. shared_from: from this one on the part
    after may; None for the last.
    """

    start: int
    stop: int
    shared_until: int = 0
    shared_from: int | None = None

    def shares(self, sample: int) -> bool:
        """Whether another part hears this sample too."""
        after = self.shared_from is not None and sample >= self.shared_from
        return sample < self.shared_until or after

    def merged(self, following: "Span") -> "Span":
        """Return this and the next as one."""
        return Span(self.start, following.stop, self.shared_until, following.shared_from)


@dataclass(frozen=True)
class Mark:
    """A moment at which a stream remembers nothing but what `digest` says.

    frame: output frames before it. finals: how many had come out. last_end: of the last word, in
    seconds; a later word is not pushed back by it.
    """

    frame: int
    digest: bytes
    finals: int
    last_end: float


@dataclass(frozen=True)
class Heard:
    """What came of a span: all its finals, and its marks."""

    span: Span
    finals: tuple[Final, ...]
    marks: tuple[Mark, ...]
    elapsed_s: float = 0.0


class Levels:
    """The loudness of a whole file, a number for every `LEVEL_S`, as its samples come."""

    def __init__(self) -> None:
        """Begin."""
        self._size = int(LEVEL_S * SAMPLE_RATE)
        self._held = np.zeros(0, np.float32)
        self._levels: list[npt.NDArray[np.float32]] = []

    def push(self, samples: Samples) -> None:
        """Take samples (n,)."""
        held = np.concatenate([self._held, samples])
        whole = len(held) // self._size * self._size
        rows = held[:whole].reshape(-1, self._size)
        self._levels.append(np.sqrt(np.mean(rows * rows, axis=1)))
        self._held = held[whole:]

    def pauses(self, least_s: float) -> list[tuple[float, float]]:
        """Return start and end, in seconds, of every pause of at least `least_s`."""
        rms = np.concatenate([*self._levels, np.zeros(0, np.float32)])
        if not len(rms) or not math.isfinite(least_s):
            return []
        loudness = 20.0 * np.log10(rms + 1e-6)
        quiet = loudness < np.quantile(loudness, SPEECH_SHARE) - QUIET_DB
        found = []
        edges = np.flatnonzero(np.diff(np.concatenate([[False], _closed(quiet), [False]])))
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if (end - start) * LEVEL_S >= least_s:
                found.append((start * LEVEL_S, end * LEVEL_S))
        return found


def _closed(quiet: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return `quiet` with single loud moments between quiet ones counted as quiet."""
    before, after = np.roll(quiet, 1), np.roll(quiet, -1)
    closed: npt.NDArray[np.bool_] = quiet | (before & after)
    return closed


def pause_needed_s(endpoint: EndpointConfig) -> float:
    """Return how long a pause must be in which network and decoder are both cleared."""
    cleared = endpoint.trailing_silence_s + endpoint.no_speech_timeout_s
    return max(cleared, RESET_AFTER_SILENCE_S) + SLACK_S


def cut(
    samples: int,
    pauses: Sequence[tuple[float, float]],
    recognizer: Recognizer,
    most: int = MOST_PARTS,
) -> tuple[Span, ...]:
    """Return the spans of a file of so many samples, by its pauses; one if it has none.

    Args:
        samples: of the file, at 16 kHz.
        pauses: start and end of each, in seconds, as `Levels.pauses` gives them.
        recognizer: hears the parts.
        most: parts that are of use; fewer parts hear less twice.
    """
    needed_s = pause_needed_s(recognizer.endpoint)
    step = grid(recognizer)
    part_s = max(PART_S, samples / SAMPLE_RATE / most)
    starts, stops = [0], []
    last_s = 0.0
    for pause_s, end_s in pauses:
        start = int((pause_s - WARM_UP_S) * SAMPLE_RATE) // step * step
        stop = int((end_s + RUN_ON_S) * SAMPLE_RATE)
        fits = starts[-1] < start and stop < samples and pause_s - last_s >= part_s
        if fits and end_s - pause_s >= needed_s:
            starts.append(start)
            stops.append(stop)
            last_s = pause_s
    return tuple(
        Span(*ends)
        for ends in zip(starts, [*stops, samples], [0, *stops], [*starts[1:], None], strict=True)
    )


def grid(recognizer: Recognizer) -> int:
    """Return the samples in whose multiples a part may begin.

    It begins with a block, and where the noise that breaks the beam's ties does.
    """
    frames = output_frames(recognizer.block_ms)
    return math.lcm(frames, TIE_BREAK_FRAMES) * SAMPLES_PER_FRAME


@dataclass
class _Clearing:
    """What a decoder carries over the end of a segment, and what it was given since."""

    carried: tuple[bytes, bytes]
    rows: list[bytes] = field(default_factory=list)


class WatchedDecoder(WrappedDecoder):
    """Knows on what the rest depends when a segment ends; counts frames from the file's start."""

    def __init__(self, decoder: Decoder, skipped: int, pieces: int) -> None:
        """Watch `decoder`, which begins `skipped` frames late, behind `pieces` columns."""
        super().__init__(decoder)
        self.clearing: _Clearing | None = None
        self.last_spoken = -1
        self._skipped = skipped
        self._pieces = pieces
        self._unread = np.full(pieces, PIECE_FLOOR, np.float32)
        self._before = np.zeros(0, np.float32)
        self._open = False

    @property
    def frame(self) -> int:
        """Output frames since the start of the file."""
        return self._inner.frame + self._skipped

    def push(self, log_probs: npt.NDArray[np.float32]) -> None:
        """Decode (1, columns) natural-log probabilities."""
        row = log_probs[0]
        blank = self._pieces + BLANK_ID
        before = self._before[blank] if len(self._before) else np.float32(0.0)
        # of frames that the beam does not search it keeps the likeliest pieces: see `_beam`
        searched = not self._open or min(row[blank], before) <= np.float32(BLANK_SKIP_LOGP)
        if searched:
            self._unread.fill(PIECE_FLOOR)
        else:
            np.maximum(self._unread, row[: self._pieces], out=self._unread)
        self._open = True
        self._before = row.copy()
        self._inner.push(log_probs)
        if not self._inner.silent:
            self.last_spoken = self.frame
        if self.clearing is not None:
            self.clearing.rows.append(self._before.tobytes())

    def forget(self) -> None:
        """Look only for ends of segments that are still to come."""
        self.clearing = None

    def words(self) -> list[DecodedWord]:
        """Return the open segment's words; asking changes nothing."""
        return self._moved(self._inner.words())

    def finish_segment(self, keep_open_word: bool = False) -> list[DecodedWord]:
        """Return the segment's words and begin the next."""
        words = self._moved(self._inner.finish_segment(keep_open_word))
        self.clearing = None
        if not keep_open_word:
            self._open = False
            self.clearing = _Clearing((self._before.tobytes(), self._unread.tobytes()))
        return words

    def _moved(self, words: list[DecodedWord]) -> list[DecodedWord]:
        by = self._skipped
        return [
            DecodedWord(w.text, w.start + by, w.end + by, w.confidence, w.evidence) for w in words
        ]


class PartStream(Stream):
    """A stream that begins within a file, with the times of the whole file, and writes marks."""

    def __init__(self, recognizer: Recognizer, span: Span) -> None:
        """Begin where `span` does: at a multiple of `grid(recognizer)`."""
        beam = recognizer.settings.name == "beam"
        self._watched = WatchedDecoder(
            recognizer.decoding.decoder(),
            span.start // SAMPLES_PER_FRAME,
            len(recognizer.checkpoint.tokenizer) if beam else 0,
        )
        super().__init__(recognizer, SAMPLE_RATE, self._watched)
        block_frames = recognizer.block_ms * SAMPLE_RATE // 1000 // HOP
        self._frontend = Frontend(block_frames, SAMPLE_RATE, span.start)
        self._span = span
        self._rested = False  # the network was cleared in what is shared with another part
        self.finals: list[Final] = []
        self.marks: list[Mark] = []

    def advance(
        self, blocks: Sequence[SampleBlock], log_probs: FloatArray, state: FloatArray
    ) -> list[Event]:
        """Do as `Stream` does, and write a mark if a segment ended in the last block."""
        self._watched.forget()
        events = super().advance(blocks, log_probs, state)
        self.take(events)
        cleared = self._watched.clearing
        if cleared is not None and self._rested:
            parts = [*cleared.carried, *cleared.rows, self.state.tobytes()]
            counted = f"{self._watched.frame} {self._watched.last_spoken} {len(cleared.rows)}"
            digest = hashlib.blake2b(b"".join([counted.encode(), *parts]), digest_size=16).digest()
            last_end = self.finals[-1].end if self.finals else 0.0
            self.marks.append(Mark(self._watched.frame, digest, len(self.finals), last_end))
        return events

    def _stops_here(self) -> bool:
        quiet = self._watched.frame - self._watched.last_spoken
        rested = self._rested or quiet * FRAME_S >= RESET_AFTER_SILENCE_S
        self._rested = rested and self._span.shares(self._watched.frame * SAMPLES_PER_FRAME)
        return super()._stops_here() or (self._watched.clearing is not None and self._rested)

    def take(self, events: Sequence[Event]) -> None:
        """Keep the finals."""
        self.finals += [event for event in events if isinstance(event, Final)]


def joined(parts: Sequence[Heard]) -> tuple[Final, ...] | int:
    """Return the finals of the whole file, or the number of the part that fits the next nowhere.

    Args:
        parts: what came of the spans, in order; the first begins at 0, the last ends the file.
    """
    finals: list[Final] = []
    since = 0  # finals of the part that were another's
    last_frame = -1
    for number, part in enumerate(parts):
        until = len(part.finals)
        meeting = None
        if number + 1 < len(parts):
            meeting = _meeting(part, parts[number + 1], last_frame)
            if meeting is None:
                return number
            until = meeting[0].finals
            last_frame = meeting[0].frame
        finals += part.finals[since:until]
        since = meeting[1].finals if meeting else 0
    return tuple(replace(final, segment=number) for number, final in enumerate(finals))


def _meeting(part: Heard, following: Heard, after: int) -> tuple[Mark, Mark] | None:
    """Return the first mark, as either part wrote it, at which both were in the same state."""
    theirs = {mark.digest: mark for mark in following.marks}
    for mark in part.marks:
        same = theirs.get(mark.digest)
        if mark.frame <= after or same is None:
            continue
        rest = following.finals[same.finals :]
        if not rest or rest[0].start > max(mark.last_end, same.last_end):
            return mark, same
    return None
