"""A sound file, from its bytes to mono samples at 16 kHz in their places in time."""

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from rivulet.audio.assembly import Assembler
from rivulet.audio.chained import MARK, ChainedDecoder, links
from rivulet.audio.frames import FFmpegDecoder
from rivulet.audio.mixing import Samples
from rivulet.audio.resampler import SAMPLE_RATE
from rivulet.audio.sources import open_source
from rivulet.audio.wav_pipe import WavPipe, open_pipe
from rivulet.errors import AudioError

FILE_BLOCK_S = 0.5  # seconds of sound handed over at a time; bounds memory for any file length
TRUNCATION_SLACK_S = 0.25  # encoders pad and trim by up to a few frames of 1152 samples


class AudioFile:
    """A sound file, decoded block by block and never held whole.

    Iterating yields mono float32 arrays (n,) in [-1, 1] at 16 kHz. Sound lies where the container's
    time stamps say: late beginnings, gaps and damaged packets are silence, what lies twice is cut.
    A file that ends before its header says so raises AudioError *after* everything that could be
    decoded has been yielded.
    """

    sample_rate = SAMPLE_RATE  # Hz, of what is yielded

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        track: int | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Open `source`: a path, or a binary stream such as standard input.

        Args:
            source: what to read.
            track: which sound track, from 1; None: the default by its flag.
            warn: takes a sentence about what is not as it should be; `warnings` keeps them too.

        Raises:
            AudioError: the file is missing, empty, unreadable, not a sound file, a video without
                sound, or has no such track.
        """
        self.warnings: list[str] = []
        self._tell = warn
        self._source = open_source(source)
        self.name = self._source.name
        try:
            self._decoder = self._open(track)
        except BaseException:
            self._source.close()
            raise
        self.source_rate = self._decoder.sample_rate
        self.channels = self._decoder.channels
        self.declared_s = self._decoder.declared_s

    def _open(self, track: int | None) -> FFmpegDecoder | ChainedDecoder | WavPipe:
        header = self._source.header
        if self._source.magic == MARK and not self._source.live:
            starts = links(self._source)
            if len(starts) > 1:
                return ChainedDecoder(self._source, starts, track, self._warn)
        if header is None or header.kind != "wav" or not self._source.live:
            return FFmpegDecoder(self._source, track, self._warn)
        pipe = open_pipe(self._source, header)
        return pipe or FFmpegDecoder(self._source, track, self._warn, live_format="wav")

    def _warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
        if self._tell:
            self._tell(sentence)

    def __iter__(self) -> Iterator[Samples]:
        """Yield mono float32 blocks (n,) at 16 kHz until the end of the file."""
        hold_s = 0.0 if self._source.live else FILE_BLOCK_S
        assembler = Assembler(self._decoder.origin_s, hold_s)
        try:
            for block in self._decoder.blocks():
                yield from assembler.push(block)
            yield from assembler.flush()
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from error
        self._report(assembler)
        self._check_complete(assembler)

    def _report(self, assembler: Assembler) -> None:
        if assembler.cancelled:
            self._warn(
                f"{self.name} has {self.channels} channels whose mean cancels; the loudest was "
                "taken."
            )
        if overlap_s := assembler.timeline.overlap_s:
            self._warn(f"{self.name} has {overlap_s:.2f} s of sound in it twice; once was taken.")
        if (damage := assembler.damage).places:
            self._warn(
                f"{self.name} is damaged: {damage.seconds:.3f} s of its sound cannot be decoded "
                f"and are silence here ({damage}); the rest was transcribed."
            )
        if (gaps := assembler.gaps).places:
            self._warn(
                f"{self.name} has no sound for {gaps.seconds:.3f} s by its time stamps; they are "
                f"silence here ({gaps})."
            )

    def _check_complete(self, assembler: Assembler) -> None:
        heard_s = assembler.decoded_s
        if not heard_s:
            error = f" ({self._decoder.error})" if self._decoder.error else ""
            raise AudioError(f"{self.name} contains 0 samples of sound{error}; record it again.")
        missing_s = self._missing_s(assembler)
        whole_s = heard_s + assembler.damage.seconds + missing_s
        if missing_s > TRUNCATION_SLACK_S:
            raise AudioError(
                f"{self.name} is truncated: its header says {whole_s:.2f} s and only "
                f"{heard_s:.2f} s are there; "
                "what is there was transcribed, the rest needs a fresh copy of the file."
            )

    def _missing_s(self, assembler: Assembler) -> float:
        """Seconds of sound that the header declares and that are not there."""
        header, decoder = self._source.header, self._decoder
        if header is not None:
            there = (self._source.size or self._source.consumed) - header.offset
            if header.declared is None or there <= 0:
                return 0.0
            return assembler.decoded_s * (header.declared / there - 1.0)
        timeline = assembler.timeline
        if decoder.end_s is not None:
            return decoder.end_s - timeline.position_s
        if decoder.sound_s is not None:
            return decoder.sound_s - (timeline.position_s - timeline.lead_s)
        return 0.0

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._decoder.close()
        self._source.close()

    def __enter__(self) -> "AudioFile":
        """Enter a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def read(source: str | os.PathLike[str] | BinaryIO, track: int | None = None) -> Iterator[Samples]:
    """Yield a sound file as mono float32 blocks (n,) at 16 kHz.

    Raises:
        AudioError: see `AudioFile`.
    """
    with AudioFile(source, track) as audio:
        yield from audio


def load(source: str | os.PathLike[str] | BinaryIO, track: int | None = None) -> Samples:
    """Return a whole sound file as mono float32 (n,) at 16 kHz; one without sound is empty.

    Raises:
        AudioError: see `AudioFile`; a file that is truncated raises as well.
    """
    return np.concatenate([np.zeros(0, np.float32), *read(source, track)])
