"""`listen`: a microphone, a recognizer, perhaps a recording; an iterator or a callback."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rivulet.checkpoint import DEFAULT_NAME
from rivulet.errors import DeviceError, RecordingError, RivuletError
from rivulet.events import Final
from rivulet.live.checks import InputWarning, block_level_db
from rivulet.live.microphone import QUEUE_S, Block, Source, microphone
from rivulet.live.recording import RecordingHeader, RecordingWriter
from rivulet.live.stream import LiveEvent, LiveStream
from rivulet.recognizer import Recognizer

LAG_BINS = 60_000  # of 1 ms; a longer lag counts as 60 s


@dataclass(frozen=True)
class Summary:
    """What a session was: seconds heard and dropped, words, and how late blocks were recognized."""

    heard_s: float
    words: int
    lag_p50_ms: int
    lag_p99_ms: int
    dropped_s: float
    gaps: int

    def __str__(self) -> str:
        """Return it in one line."""
        drops = f"{self.dropped_s:.2f} s dropped in {self.gaps} gaps" if self.gaps else "no drops"
        return (
            f"{self.heard_s:.1f} s heard, {self.words} words, lag p50 {self.lag_p50_ms} ms "
            f"p99 {self.lag_p99_ms} ms, {drops}"
        )


@dataclass
class SessionStats:
    """Counts for the summary, in constant memory: lags go into bins of 1 ms."""

    heard: int = 0  # samples per channel
    dropped: int = 0
    gaps: int = 0
    words: int = 0
    _lags: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(LAG_BINS, np.int64))

    def add(self, block: Block, lag_s: float) -> None:
        """Count a block; `lag_s` from its arrival until its events were there."""
        self.heard += len(block.samples)
        self.dropped += block.lost
        self.gaps += block.lost > 0
        if len(block.samples):
            self._lags[min(max(round(lag_s * 1000), 0), LAG_BINS - 1)] += 1

    def count_words(self, events: list[LiveEvent]) -> None:
        """Count the words of finished segments."""
        self.words += sum(len(event.words) for event in events if isinstance(event, Final))

    def lag_ms(self, percentile: float) -> int:
        """Return the lag that `percentile` percent of the blocks did not exceed; 0 if none."""
        total = int(self._lags.sum())
        if not total:
            return 0
        return int(np.searchsorted(np.cumsum(self._lags), total * percentile / 100.0))

    def summary(self, sample_rate: int) -> Summary:
        """Return the counts in seconds."""
        return Summary(
            self.heard / sample_rate,
            self.words,
            self.lag_ms(50.0),
            self.lag_ms(99.0),
            self.dropped / sample_rate,
            self.gaps,
        )


class LiveSession:
    """A session that runs while it is iterated.

    Iterating yields events until `stop`, then the last words. If the device vanishes, what was
    heard is decoded, yielded and saved first, then DeviceError is raised. If the session cannot be
    saved any more, an InputWarning says so at once; words go on, and RecordingError is raised
    at the end.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        source: Source,
        save: str | Path | None = None,
    ) -> None:
        """Listen to `source`.

        Args:
            recognizer: what understands it.
            source: an open microphone, or anything that yields blocks.
            save: where to keep the session, a file or a folder.

        Raises:
            RecordingError: `save` exists already or cannot be written.
        """
        self.source = source
        self.level_db = -200.0  # peak of the latest block, dBFS
        self.lag_s = 0.0  # of the latest block
        self.on_block: Callable[[LiveSession], None] | None = None  # called after each, for meters
        self._live = LiveStream(recognizer, source.format)
        self._tally = SessionStats()
        self._finished = False
        self._unsaved: RecordingError | None = None
        self._saver: RecordingWriter | None = None
        if save is not None:
            try:
                header = RecordingHeader.of(recognizer, source.format)
                self._saver = RecordingWriter(Path(save), header)
            except RivuletError:
                source.close()
                raise

    @property
    def saved_to(self) -> Path | None:
        """The file of the session, if it is saved."""
        return self._saver.path if self._saver else None

    @property
    def saved_s(self) -> float:
        """Seconds of sound in that file; what is heard now comes about a second later."""
        return self._saver.saved_s if self._saver else 0.0

    @property
    def unsaved(self) -> RecordingError | None:
        """Why the session cannot be saved any more; None while it can."""
        return self._unsaved

    @property
    def now_s(self) -> float:
        """Seconds of the session so far, lost sound included."""
        return self._live.now_s

    @property
    def dropped_s(self) -> float:
        """Seconds of sound lost so far."""
        return self._tally.dropped / self.source.format.sample_rate

    @property
    def summary(self) -> Summary:
        """The session so far."""
        return self._tally.summary(self.source.format.sample_rate)

    def stop(self) -> None:
        """Ask for the end; from any thread, and from a signal handler."""
        self.source.stop()

    def __iter__(self) -> Iterator[LiveEvent]:
        """Yield events.

        Raises:
            DeviceError: the device vanished; everything it gave was yielded before.
            RecordingError: the session could not be saved to its end; every word was yielded.
        """
        vanished: DeviceError | None = None
        last: list[LiveEvent] = []
        try:
            try:
                for block in self.source:
                    yield from self._hear(block)
            except DeviceError as error:
                vanished = error
            last = self._finish(str(vanished) if vanished else "stopped")
        except GeneratorExit:
            self._finish("left by the caller")
            raise
        finally:
            self.source.close()
        yield from last
        if vanished is not None:
            raise vanished
        if self._unsaved is not None:
            raise self._unsaved

    def _hear(self, block: Block) -> list[LiveEvent]:
        events = self._live.accept(block)
        self.lag_s = self.source.now() - block.arrived_s
        self.level_db = block_level_db(block)
        self._tally.add(block, self.lag_s)
        self._tally.count_words(events)
        if self._saver is not None and self._unsaved is None:
            try:
                self._saver.write(block, events, self.lag_s)
            except RecordingError as error:
                events = [*events, self._give_up(error)]
        if self.on_block is not None:
            self.on_block(self)
        return events

    def _give_up(self, error: RecordingError) -> InputWarning:
        """Go on without saving."""
        self._unsaved = error
        return InputWarning("save", str(error), round(self.now_s, 3))

    def _finish(self, reason: str) -> list[LiveEvent]:
        """Decode the last words and close the recording; once."""
        if self._finished:
            return []
        self._finished = True
        events = self._live.finish()
        self._tally.count_words(events)
        if self._saver is not None and self._unsaved is None:
            try:
                self._saver.close(events, reason)
            except RecordingError as error:
                return [*events, self._give_up(error)]
        return events


class Background:
    """A session in its own thread, which hands every event to a callback."""

    def __init__(self, listening: LiveSession, on_event: Callable[[LiveEvent], None]) -> None:
        """Start at once."""
        self._listening = listening
        self._on_event = on_event
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="rivulet listen", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._listening:
                self._on_event(event)
        except Exception as error:  # handed to whoever waits
            self._error = error

    @property
    def running(self) -> bool:
        """Whether it still listens."""
        return self._thread.is_alive()

    def stop(self) -> Summary:
        """Hear what is queued, flush the last words, and return the summary; twice is harmless.

        Raises:
            Exception: what ended it early, such as DeviceError or an error of the callback.
        """
        self._listening.stop()
        self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._listening.summary

    def __enter__(self) -> "Background":
        """Enter a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


def listen(
    device: int | str | None = None,
    *,
    sample_rate: int | None = None,
    channels: int | None = None,
    model: str | Path | Recognizer = DEFAULT_NAME,
    save: str | Path | None = None,
    queue_s: float = QUEUE_S,
) -> LiveSession:
    """Open a microphone and return the session; iterate for its events.

    Args:
        device: its index, a part of its name, or None for the default.
        sample_rate: in Hz; None for the device's own.
        channels: how many to open and mix; None for all, at most 2.
        model: name, folder, or a Recognizer that may serve other streams too.
        save: keep the session in this file or folder, for `rivulet replay`.
        queue_s: seconds of sound that may wait before some is dropped.

    Raises:
        DeviceError: no PortAudio library, no such device, or a refused rate.
        CheckpointError: the model is missing or altered.
        RecordingError: `save` exists already or cannot be written.
    """
    recognizer = model if isinstance(model, Recognizer) else Recognizer.load(model)
    return LiveSession(recognizer, microphone(device, sample_rate, channels, queue_s), save)


def listen_in_background(
    on_event: Callable[[LiveEvent], None],
    device: int | str | None = None,
    *,
    sample_rate: int | None = None,
    channels: int | None = None,
    model: str | Path | Recognizer = DEFAULT_NAME,
    save: str | Path | None = None,
    queue_s: float = QUEUE_S,
) -> Background:
    """Like `listen`, in a thread: `on_event` gets every event there; `stop()` ends it."""
    session = listen(
        device,
        sample_rate=sample_rate,
        channels=channels,
        model=model,
        save=save,
        queue_s=queue_s,
    )
    return Background(session, on_event)
