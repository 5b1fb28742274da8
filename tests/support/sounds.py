"""Sound files of every kind, made with PyAV from samples; and ways to spoil them."""

import io
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from rivulet.audio import SAMPLE_RATE, Samples, load
from support import SAMPLES

FRAME = 1024  # samples handed to an encoder that takes any number


def clip(name: str = "slt") -> Samples:
    """A spoken clip, (n,) at 16 kHz."""
    return load(SAMPLES / f"{name}.flac")


def at_rate(samples: Samples, rate: int) -> Samples:
    """Resample a 16 kHz clip (n,)."""
    import soxr

    resampled: Samples = soxr.resample(samples, SAMPLE_RATE, rate, quality="HQ")
    return np.clip(resampled, -1.0, 1.0).astype(np.float32)


def spread(samples: Samples, channels: int) -> Samples:
    """The same on every channel, (n, channels)."""
    return np.repeat(samples[:, None], channels, axis=1)


def layout_of(channels: int) -> str:
    """FFmpeg's name of a layout with so many channels."""
    named = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    return named.get(channels, f"{channels}C")


class Track:
    """One encoder in a container."""

    def __init__(
        self,
        container: Any,
        codec: str,
        rate: int,
        channels: int = 1,
        sample_format: str | None = None,
        options: dict[str, str] | None = None,
        bit_rate: int | None = None,
    ) -> None:
        self.stream = container.add_stream(codec, rate=rate, layout=layout_of(channels))
        context = self.stream.codec_context
        context.options = {"strict": "-2", **(options or {})}
        if sample_format:
            context.format = sample_format
        elif not context.format or context.format.name not in formats_of(codec):
            context.format = formats_of(codec)[0]
        if bit_rate:
            context.bit_rate = bit_rate
        context.time_base = Fraction(1, rate)
        context.open(False)
        self._container = container
        self._rate, self._layout = rate, layout_of(channels)

    def packets(self, samples: Samples, start_s: float = 0.0) -> Iterator[Any]:
        """Encode (n, channels), beginning at `start_s`."""
        context = self.stream.codec_context
        convert = av.AudioResampler(format=context.format, layout=self._layout, rate=self._rate)
        fifo = av.AudioFifo()
        at = round(start_s * self._rate)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.reshape(1, -1), dtype=np.float32),
            format="flt",
            layout=self._layout,
        )
        frame.sample_rate = self._rate
        for part in convert.resample(frame):
            part.pts = None
            fifo.write(part)
        while (part := fifo.read(context.frame_size or FRAME)) or (part := fifo.read(0, True)):
            part.pts, part.time_base = at, Fraction(1, self._rate)
            at += part.samples
            yield from self.stream.encode(part)

    def end(self) -> Iterator[Any]:
        """Flush the encoder."""
        yield from self.stream.encode(None)


def formats_of(codec: str) -> list[str]:
    """Sample formats that an encoder takes."""
    found = av.Codec(codec, "w").audio_formats
    return [item.name for item in found or ()] or ["s16"]


def write_sound(
    path: Path | str,
    samples: Samples,
    rate: int = SAMPLE_RATE,
    codec: str = "pcm_s16le",
    *,
    container: str | None = None,
    start_s: float = 0.0,
    keep: Callable[[int], bool] | None = None,
    **encoder: Any,
) -> Path:
    """Encode samples (n,) or (n, channels) at `rate`; `keep` says which packets are written."""
    sound = samples if samples.ndim == 2 else samples[:, None]
    path = Path(path)
    with av.open(str(path), "w", format=container, options={"strict": "-2"}) as out:
        track = Track(out, codec, rate, sound.shape[1], **encoder)
        packets = [*track.packets(sound, start_s), *track.end()]
        for number, packet in enumerate(packets):
            if keep is None or keep(number):
                out.mux(packet)
    return path


def write_video(  # noqa: PLR0913 (all but the first three by name)
    path: Path | str,
    tracks: Sequence[tuple[Samples, float]],
    video_s: float,
    audio_codec: str = "aac",
    video_codec: str = "mpeg4",
    *,
    container: str | None = None,
    gap: tuple[float, float] | None = None,
    rate: int = SAMPLE_RATE,
    default: int | None = None,
) -> Path:
    """A film of a gray picture and tracks of (samples, start in seconds).

    gap: packets that begin between these seconds are left out.
    default: which sound track alone is flagged as the default, from 0.
    """
    path = Path(path)
    with av.open(str(path), "w", format=container, options={"strict": "-2"}) as out:
        picture = out.add_stream(video_codec, rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        encoders = [Track(out, audio_codec, rate) for _ in tracks]
        if default is not None:
            for number, encoder in enumerate(encoders):
                flag = av.stream.Disposition.default
                encoder.stream.disposition = flag if number == default else 0
        packets = list(_pictures(picture, video_s))
        for encoder, (samples, start_s) in zip(encoders, tracks, strict=True):
            packets += encoder.packets(at_rate(samples, rate)[:, None], start_s)
            packets += encoder.end()
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            seconds = float(packet.pts * packet.time_base)
            lost = gap and packet.stream.type == "audio" and gap[0] <= seconds < gap[1]
            if not lost:
                out.mux(packet)
    return path


def _pictures(picture: Any, seconds: float) -> Iterator[Any]:
    for number in range(round(seconds * 10)):
        image = np.full((64, 64, 3), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 10)
        yield from picture.encode(frame)
    yield from picture.encode(None)


def encoded(
    samples: Samples, suffix: str, codec: str, rate: int = SAMPLE_RATE, **how: Any
) -> bytes:
    """The bytes of a file of format `suffix`."""
    buffer = io.BytesIO()
    sound = samples if samples.ndim == 2 else samples[:, None]
    with av.open(buffer, "w", format=suffix, options={"strict": "-2"}) as out:
        track = Track(out, codec, rate, sound.shape[1], **how)
        for packet in [*track.packets(sound), *track.end()]:
            out.mux(packet)
    return buffer.getvalue()


def spoil(content: bytes, at: float, count: int = 40, seed: int = 0) -> bytes:
    """Put `count` random bytes at a share of the file."""
    rng = np.random.default_rng(seed)
    start = int(len(content) * at)
    noise = rng.integers(0, 256, count, np.uint8).tobytes()
    return content[:start] + noise + content[start + count :]
