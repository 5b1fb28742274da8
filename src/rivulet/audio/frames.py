"""Sound files through FFmpeg: packets to blocks of samples with their stamps.

PyAV is imported where a file is opened: other sound does not need it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rivulet.audio.mixing import Samples
from rivulet.audio.sources import Part, Source
from rivulet.errors import AudioError

READ_BYTES = 1 << 16  # at a time, from a file
LIVE_READ_BYTES = 1 << 8  # from a pipe, where FFmpeg waits for as much
PROBE = {"probesize": str(20_000_000), "analyzeduration": str(20_000_000)}  # bytes, µs
LIVE_PROBE = {"probesize": "32", "analyzeduration": "1"}
CLOSED = {"protocol_whitelist": "none"}  # playlists in disguise may open nothing else
MAX_ERRORS = 100  # of the container in a row, without a packet between
STAMPED = frozenset(
    {"mov", "matroska", "mpegts", "mpeg", "ogg", "flv", "avi", "asf", "nut", "mxf", "wtv", "rm"}
)
"""Containers with time stamps of their own; FFmpeg makes up those of others."""
CUSTOM_ORDER = re.compile(r"channels \(|ambisonic|\+|@")  # in FFmpeg's name of a layout
FROM_ZERO = frozenset({"mov", "matroska"})  # whose clock begins with the picture, at 0


@dataclass(frozen=True)
class Block:
    """Decoded sound, (n, channels) in [-1, 1].

    stamp_s: where it begins on the container's clock; None if that is not known.
    lost_s: seconds of damaged sound before it.
    begins: whether a file begins here that was appended to the one before, with a clock of its own.
    """

    samples: Samples
    sample_rate: int
    stamp_s: float | None = None
    lost_s: float = 0.0
    begins: bool = False


class FFmpegDecoder:
    """One sound track of a file.

    declared_s: length for a progress bar, perhaps an estimate; None if unknown.
    sound_s: length of the sound itself, where the container declares it.
    end_s: where the sound ends on the container's clock, where it declares that.
    origin_s: second on that clock at which picture or sound begins; None: at the first stamp.
    error: FFmpeg's words for what went wrong last.
    """

    def __init__(
        self,
        source: Source | Part,
        track: int | None,
        warn: Callable[[str], None],
        live_format: str | None = None,
    ) -> None:
        """Open `source` with FFmpeg.

        Args:
            source: what to read.
            track: which sound track, from 1; None: the default by its flag.
            warn: takes the sentence that there are several.
            live_format: FFmpeg's name of the format of a pipe whose sound should come at once.

        Raises:
            AudioError: it is no sound file that FFmpeg can read, or has no such track.
        """
        self._container = _open(source, live_format)
        try:
            self._track = _choose_track(self._container, source.name, track, warn)
        except AudioError:
            self._container.close()
            raise
        self.sample_rate = int(self._track.codec_context.sample_rate)
        self._layout = _safe_layout(self._track.codec_context)
        self.channels = int(self._layout.nb_channels)
        self.error = ""
        self._names = set(self._container.format.name.split(","))
        self.origin_s = self._origin_s()
        track_s, whole_s = _track_s(self._track), _container_s(self._container)
        self.declared_s = track_s if track_s is not None else whole_s
        self.sound_s = track_s if self._names & {"flac", "mov"} else None
        alone = len(self._container.streams) == 1
        self.end_s = None
        if "matroska" in self._names:
            self.end_s = _tagged_s(self._track) or (whole_s if alone else None)

    def _origin_s(self) -> float | None:
        import av

        start: int | None = self._container.start_time
        if start is None or not self._names & STAMPED:
            return None
        seconds = float(start / av.time_base)
        return min(0.0, seconds) if self._names & FROM_ZERO else seconds

    def blocks(self) -> Iterator[Block]:
        """Decode; a packet that cannot be decoded counts in the next block's `lost_s`."""
        decode = PacketDecoder(bool(self._names & STAMPED))
        for packet in self._demux():
            yield from decode.push(packet)
            self.error = decode.error or self.error
        yield from decode.flush()

    def _demux(self) -> Iterator[Any]:
        """Yield packets, and go on after an error of the container."""
        import av.error

        errors = 0
        packets = self._container.demux(self._track)
        while errors < MAX_ERRORS:
            try:
                for packet in packets:
                    errors = 0
                    yield packet
            except av.error.FFmpegError as error:  # noqa: PERF203 (around many packets)
                self.error = reason(error)
                errors += 1
                packets = self._container.demux(self._track)
            else:
                return

    def close(self) -> None:
        """Close the container; closing twice is harmless."""
        self._container.close()


class PacketDecoder:
    """Packets to blocks, each frame with the rate and channels that it has itself."""

    def __init__(self, stamped: bool) -> None:
        """Begin; `stamped` if the frames' time stamps are to be believed."""
        self.error = ""  # the last
        self._stamped = stamped
        self._lost_s = 0.0
        self._usual_s = 0.0  # length of the last packet that was decoded
        self._form: tuple[str, str, int] = ("", "", 0)
        self._convert: Any = None

    def push(self, packet: Any, context: Any = None) -> Iterator[Block]:
        """Decode a packet, with its track's decoder or with `context`."""
        import av.error

        try:
            frames = context.decode(packet) if context else packet.decode()
        except (av.error.FFmpegError, ValueError) as error:
            self.error = reason(error)
            self._lost_s += self._length_s(packet)
            return
        for frame in frames:
            if not (frame.samples and frame.sample_rate):
                continue
            try:
                block = self._block(frame)
            except av.error.FFmpegError as error:  # of a form that nothing converts, so damaged
                self.error = reason(error)
                self._lost_s += frame.samples / frame.sample_rate
                self._form = ("", "", 0)
            else:
                yield block

    def flush(self) -> Iterator[Block]:
        """Yield damage at the end."""
        if self._lost_s and self._form[2]:
            yield Block(np.zeros((0, 1), np.float32), self._form[2], None, self._lost_s)

    def _length_s(self, packet: Any) -> float:
        if packet.size and packet.duration and packet.time_base:
            return float(packet.duration * packet.time_base)
        return self._usual_s if packet.size else 0.0

    def _block(self, frame: Any) -> Block:
        import av

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            self._form, self._convert = form, av.AudioResampler(format="flt")
        self._usual_s = frame.samples / frame.sample_rate
        stamp_s = None
        if self._stamped and frame.pts is not None:
            stamp_s = float(frame.pts * frame.time_base)
        # interleaved, as PyAV reads planes beyond the eighth past their end
        channels = frame.layout.nb_channels
        parts = [part.to_ndarray().reshape(-1, channels) for part in self._convert.resample(frame)]
        lost_s, self._lost_s = self._lost_s, 0.0
        return Block(np.concatenate(parts), frame.sample_rate, stamp_s, lost_s)


def _open(source: Source | Part, live_format: str | None) -> Any:
    """Open a container (Any: av types its readers and writers as one union)."""
    import av.error

    try:
        return av.open(
            source,
            format=live_format,
            options={**(LIVE_PROBE if live_format else PROBE), **CLOSED},
            metadata_errors="ignore",
            buffer_size=LIVE_READ_BYTES if source.live else READ_BYTES,
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise AudioError(
            f"{source.name} is not a sound file that FFmpeg can read ({reason(error)}); "
            "give wav, flac, mp3, m4a, ogg, opus or webm."
        ) from error


def _choose_track(
    container: Any, name: str, number: int | None, warn: Callable[[str], None]
) -> Any:
    import av

    tracks = container.streams.audio
    if not tracks:
        raise AudioError(f"{name} has no sound track; give a file with audio in it.")
    if number is not None and not 1 <= number <= len(tracks):
        raise AudioError(f"{name} has no sound track {number}; choose one of 1 to {len(tracks)}.")
    if number is None:
        readable = [i for i, track in enumerate(tracks, 1) if track.codec_context is not None]
        default = av.stream.Disposition.default
        flagged = [i for i in readable if tracks[i - 1].disposition & default]
        number = (flagged or readable or [1])[0]
        if len(tracks) > 1:
            warn(
                f"{name} has {len(tracks)} sound tracks, of which number {number} is transcribed; "
                "choose another with --track N."
            )
    if tracks[number - 1].codec_context is None:
        raise AudioError(f"{name} has sound of a kind that FFmpeg cannot decode; convert it first.")
    return tracks[number - 1]


def _safe_layout(context: Any) -> Any:
    """Return the layout of a decoder; one whose channels are in an order of their own loses it.

    PyAV's layouts and frames share the list of such an order with FFmpeg and free it twice. The
    layout that is returned has to live as long as the decoder.
    """
    layout = context.layout
    if CUSTOM_ORDER.search(layout.name):
        context.layout = f"{layout.nb_channels}C"
    return layout


def _track_s(track: Any) -> float | None:
    if track.duration is None or track.time_base is None:
        return None
    return float(track.duration * track.time_base)


def _container_s(container: Any) -> float | None:
    import av

    return float(container.duration / av.time_base) if container.duration else None


def _tagged_s(track: Any) -> float | None:
    """Return what Matroska's tag DURATION of a track says, as in 00:00:03.728000000."""
    found = re.fullmatch(r"(\d+):(\d+):([\d.]+)", track.metadata.get("DURATION", ""))
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def reason(error: Exception) -> str:
    """Return FFmpeg's words for an error."""
    return (getattr(error, "strerror", None) or str(error)).split(":")[0]
