"""`Segmenter`: log-probabilities → events. A decoder finds words, an endpointer ends segments."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.frames import FRAME_S
from rivulet.decoding.decoder import DecodedWord, Decoder
from rivulet.decoding.settings import TimingConfig
from rivulet.endpoint import EndpointConfig, Endpointer
from rivulet.events import Event, Final, Partial, Word

if TYPE_CHECKING:
    from rivulet.decoding.hotwords import Hotword

RESET_AFTER_SILENCE_S = 5.0  # seconds without speech after which the network should begin anew


def mean_log_prob(words: Sequence[DecodedWord]) -> float:
    """Return the mean natural log-probability of the words' path a frame; 0 if it is not known."""
    known = [(w.end - w.start, w.evidence) for w in words if w.evidence]
    total = sum(frames * (seen.agreement + seen.sharpness) for frames, seen in known)
    return total / max(1, sum(frames for frames, _ in known))


class Segmenter:
    """One live signal from the network's output on: what it says, cut into segments, with times."""

    def __init__(
        self,
        decoder: Decoder,
        endpoint: EndpointConfig,
        timing: TimingConfig,
        lookahead: int = 0,
        hot_phrases: "Sequence[Hotword]" = (),
        min_log_prob: float | None = None,
        partials: bool = True,
    ) -> None:
        """Begin at time 0.

        Args:
            decoder: finds the words; it belongs to this segmenter.
            endpoint: when a segment ends.
            timing: the measured delay that is taken off word times.
            lookahead: output frames by which the network's rows are late.
            hot_phrases: those that finals name if they hold them.
            min_log_prob: a segment whose words have a lower mean log-probability a frame is no
                speech and is dropped, unless its words were settled before; None keeps all.
            partials: whether they are wanted; without them a block costs less.
        """
        self._decoder = decoder
        self._endpointer = Endpointer(endpoint, FRAME_S)
        self._timing = timing
        self._lookahead_s = lookahead * FRAME_S
        self._phrases = hot_phrases
        self._min_log_prob = -math.inf if min_log_prob is None else min_log_prob
        self._partials = partials
        self._accepted = False  # the open segment has settled words that count as speech
        self._silent_frames = 0  # in a row, up to here
        self._wants_reset = False
        self._segment = 0
        self._shown: tuple[str, int] = ("", 0)
        self._last_end = 0.0
        self._at = 0.0  # seconds of sound that the results rest on

    def push(self, log_probs: npt.NDArray[np.float32], at: float) -> list[Event]:
        """Take a block of output frames (T, columns), natural logarithm; return its events.

        Args:
            log_probs: what the network wrote.
            at: seconds of sound heard when the block was complete.
        """
        self._at = at
        self._wants_reset = False
        events: list[Event] = [event for row in log_probs for event in self._step(row[None])]
        return [*events, *self._show()]

    def flush(self, at: float) -> list[Event]:
        """End the signal, which is `at` seconds long, and return the last events."""
        self._at = at
        events = list(self._close(self._decoder.finish_segment()))
        return [*events, *self._show()]

    def partial(self) -> Partial:
        """Return the open segment as it reads now; asking changes nothing."""
        words = self._decoder.words()
        settled = self._decoder.settled() if self._accepted or self._is_likely(words) else 0
        text = " ".join(word.text for word in words)
        timed = tuple(self._timed(words[:settled]))
        return Partial(self._segment, text, settled, self._at, timed)

    def words(self) -> tuple[Word, ...]:
        """Return the open segment's words as they are now; asking changes nothing."""
        return tuple(self._timed(self._decoder.words()))

    @property
    def wants_reset(self) -> bool:
        """Whether another `RESET_AFTER_SILENCE_S` without speech ended in the last block.

        The network was trained on utterances; minutes of noise carry its state to where it hears
        words, so it should begin anew.
        """
        return self._wants_reset

    def _step(self, row: npt.NDArray[np.float32]) -> Iterator[Event]:
        """Take one output frame (1, columns); yield a Final if it ends the segment."""
        self._decoder.push(row)
        self._count_silence()
        rule = self._endpointer.push(self._decoder.silent)
        if rule is not None:
            words = self._decoder.finish_segment(keep_open_word=not rule.trailing_silence_s)
            self._endpointer.reset(spoke=bool(self._decoder.words()))
            yield from self._close(words)

    def _count_silence(self) -> None:
        self._silent_frames = self._silent_frames + 1 if self._decoder.silent else 0
        if self._silent_frames * FRAME_S >= RESET_AFTER_SILENCE_S:
            self._silent_frames = 0
            self._wants_reset = True

    def _show(self) -> Iterator[Partial]:
        """Yield how the open segment reads, if it reads otherwise than was shown."""
        if not self._partials:  # only what a partial would decide
            self._accepted = self._accepted or (
                self._decoder.settled() > 0 and self._is_likely(self._decoder.words())
            )
            return
        partial = self.partial()
        self._accepted = self._accepted or partial.stable > 0
        if (partial.text, partial.stable) != self._shown:
            self._shown = (partial.text, partial.stable)
            yield partial

    def _is_likely(self, words: Sequence[DecodedWord]) -> bool:
        return mean_log_prob(words) >= self._min_log_prob

    def _close(self, words: list[DecodedWord]) -> Iterator[Event]:
        accepted, self._accepted = self._accepted, False
        if not words or not (accepted or self._is_likely(words)):
            return  # what was shown is taken back by the next partial
        self._shown = ("", 0)
        timed = tuple(self._timed(words))
        self._last_end = timed[-1].end
        text = " ".join(word.text for word in timed)
        yield Final(
            self._segment,
            text,
            timed,
            timed[0].start,
            timed[-1].end,
            self._at,
            self._decoder.alternatives,
            tuple(p.text for p in self._phrases if f" {p.spelled} " in f" {text} "),
        )
        self._segment += 1

    def _timed(self, words: Sequence[DecodedWord]) -> Iterator[Word]:
        """Give words their times: less lookahead and measured delay, in order, inside the sound."""
        last_end = self._last_end
        for word in words:
            start = word.start * FRAME_S - self._lookahead_s - self._timing.start_delay_s
            end = word.end * FRAME_S - self._lookahead_s - self._timing.end_delay_s
            start = min(max(start, last_end), self._at)
            end = min(max(end, start + FRAME_S), max(self._at, start))
            last_end = end
            yield Word(word.text, round(start, 3), round(end, 3), round(word.confidence, 4))
