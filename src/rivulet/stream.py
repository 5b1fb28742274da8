"""`Stream`: one live signal, from its samples to its events."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from rivulet.acoustic.engine import Engine, FloatArray
from rivulet.acoustic.frames import FRAME_S
from rivulet.acoustic.frontend import SampleBlock, joined
from rivulet.audio import SAMPLE_RATE
from rivulet.decoding.decoder import Decoder
from rivulet.errors import AudioError, ConfigError
from rivulet.events import Event, Partial, Word

if TYPE_CHECKING:
    from rivulet.recognizer import Recognizer

TAIL_S = 0.4  # silence fed at the end: CTC shows the last letters a little after they were spoken


class Stream:
    """One live signal: a state of constant size.

    Frontend → network → segmenter. Feed it any pieces; the events do not depend on how the signal
    is cut. Use it alone with `accept` and `finish`, or push sound into many and let
    `Recognizer.step` advance them together.
    """

    def __init__(
        self,
        recognizer: "Recognizer",
        sample_rate: int = SAMPLE_RATE,
        decoder: Decoder | None = None,
        partials: bool = True,
    ) -> None:
        """Begin at time 0; use `Recognizer.stream`."""
        self._recognizer = recognizer
        self._frontend = recognizer.frontend(sample_rate)
        self._state = recognizer.checkpoint.engine.layout.zeros()
        self._segmenter = recognizer.segmenter(decoder, partials)
        self._blocks: deque[SampleBlock] = deque()
        self._ended = False
        self._finished = False

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        Raises:
            ConfigError: always; a stream lives where its sound comes in.
        """
        raise ConfigError(
            "a stream cannot be pickled; send its samples or its events to the other process, and "
            "begin a stream there with recognizer.stream()."
        )

    def accept(self, samples: npt.NDArray[Any]) -> list[Event]:
        """Hear `samples`, float32 in [-1, 1] or int16, (n,) or (n, channels); return their events.

        Raises:
            AudioError: the samples are not finite, not sound, or come after the end; the stream
                stays as it was.
        """
        self.push(samples)
        return self._drain()

    def finish(self) -> list[Event]:
        """Decode what is still on its way, to the last sample, and return the last events."""
        if self._finished:
            return []
        self.end()
        events = self._drain()
        self._finished = True
        return events + self._segmenter.flush(round(self._frontend.seconds, 3))

    def push(self, samples: npt.NDArray[Any]) -> None:
        """Take samples as `accept` does, and leave the computing to `Recognizer.step`.

        Raises:
            AudioError: as `accept`.
        """
        if self._ended:
            raise AudioError("the stream is finished; begin another with recognizer.stream().")
        self._blocks.extend(self._frontend.push(samples))

    def end(self) -> None:
        """Take no more samples; what is left becomes blocks, and then `finish` costs nothing."""
        if not self._ended:
            self._ended = True
            lookahead_s = self._recognizer.checkpoint.config.lookahead * FRAME_S
            self._blocks.extend(self._frontend.flush(TAIL_S + lookahead_s))

    @property
    def ready(self) -> bool:
        """Whether a block waits for `Recognizer.step`."""
        return bool(self._blocks)

    @property
    def waiting(self) -> int:
        """Blocks that wait for `Recognizer.step`."""
        return len(self._blocks)

    def partial(self) -> Partial:
        """Return the open segment as it reads now; asking changes nothing."""
        return self._segmenter.partial()

    def words(self) -> tuple[Word, ...]:
        """Return the open segment's words as they are now; asking changes nothing."""
        return self._segmenter.words()

    @property
    def seconds(self) -> float:
        """Sound heard so far."""
        return self._frontend.seconds

    @property
    def nbytes(self) -> int:
        """Bytes of samples waiting for their block, and of what the network remembers."""
        return self._frontend.nbytes + self._state.nbytes

    def _drain(self) -> list[Event]:
        events: list[Event] = []
        while self._blocks:
            events += self._recognizer.step([self], self._recognizer.blocks_ahead)[0]
        return events

    @property  # from here on: what `Recognizer.step` needs of a stream
    def runs_on(self) -> tuple[Engine, int]:
        """The engine, and the block in milliseconds."""
        return self._recognizer.checkpoint.engine, self._recognizer.block_ms

    @property
    def state(self) -> FloatArray:
        """What the network remembers, (1, size)."""
        return self._state

    def next_blocks(self, count: int) -> list[SampleBlock]:
        """Take the blocks that wait longest."""
        return [self._blocks.popleft() for _ in range(count)]

    def advance(
        self, blocks: Sequence[SampleBlock], log_probs: FloatArray, state: FloatArray
    ) -> list[Event]:
        """Take what the network made of `blocks`: (k, columns), and the state after them.

        Where the network should begin anew after one of them, those after it wait again.
        """
        events: list[Event] = []
        engine = self._recognizer.checkpoint.engine
        for count, rows in enumerate(np.split(log_probs, len(blocks)), 1):
            events += self._segmenter.push(rows, blocks[count - 1].at)
            if self._stops_here():
                if count < len(blocks):
                    self._blocks.extendleft(reversed(blocks[count:]))
                    _, state = engine.step(joined(blocks[:count])[None], self._state)
                break
        reset = self._segmenter.wants_reset
        self._state = engine.layout.reset_recurrent(state) if reset else state
        return events

    def _stops_here(self) -> bool:
        """Whether the state after the latest block is needed, whatever was to come with it."""
        return self._segmenter.wants_reset
