"""What is done to an utterance so that the next epoch hears something else."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch

from rivulet.audio import SAMPLE_RATE, Samples, from_int16
from rivulet.errors import ConfigError
from rivulet.training.corpus import Corpus, quietest

REVERB_RT60_S = (0.1, 0.6)  # small office to living room
WARP_KNEE_HZ = 4800.0  # formants lie below; above it a warped axis is bent back to its end
EQUALIZER_KNOTS_HZ = (60.0, 180.0, 540.0, 1100.0, 2200.0, 4000.0, 8000.0)
TELEPHONE_LOW_HZ = (50.0, 350.0)  # where a line begins, from a cell phone's codec to an old one
TELEPHONE_HIGH_HZ = (3300.0, 3900.0)  # and ends
LONGEST_LEAD_S = 30.0
ROOM_DB = (-20.0, 3.0)  # of the room before an utterance, against its quietest moment


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how much; a probability of 0 switches a step off."""

    speeds: tuple[float, ...] = (0.9, 1.0, 1.0, 1.1)
    gain_db: tuple[float, float] = (-20.0, 6.0)
    noise_probability: float = 0.3
    noise_snr_db: tuple[float, float] = (5.0, 30.0)
    reverb_probability: float = 0.15
    frequency_masks: int = 2
    frequency_mask_bins: int = 12
    time_masks_per_s: float = 0.15
    time_mask_frames: int = 16
    equalizer_probability: float = 0.0
    equalizer_db: float = 6.0
    vtlp_range: tuple[float, float] = (1.0, 1.0)
    telephone_probability: float = 0.0
    lead_probability: float = 0.0  # of a room without speech before the utterance,
    lead_s: tuple[float, float] = (0.0, 2.0)  # as long as this

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: a probability is not within 0 to 1, a range is backwards or too long, or a
                speed or a vocal tract's length is not above 0.
        """
        for name, value in vars(self).items():
            if name.endswith("_probability") and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} is {value}; use 0 to 1.")
        if not self.speeds or not all(0.0 < speed < math.inf for speed in self.speeds):
            listed = ", ".join(map(str, self.speeds)) or "nothing"
            raise ConfigError(f"speeds is {listed}; list one or more numbers above 0, as 0.9, 1.1.")
        for name in ("gain_db", "noise_snr_db", "vtlp_range", "lead_s"):
            low, high = getattr(self, name)
            if not -math.inf < low <= high < math.inf:
                raise ConfigError(f"{name} is {low} to {high}; give the smaller number first.")
        if self.vtlp_range[0] <= 0.0:
            raise ConfigError(f"vtlp_range begins at {self.vtlp_range[0]}; use more than 0.")
        if not (self.lead_s[0] >= 0.0 and self.lead_s[1] <= LONGEST_LEAD_S):
            raise ConfigError(
                f"lead_s is {self.lead_s[0]} to {self.lead_s[1]}; use 0 to {LONGEST_LEAD_S} s."
            )

    def gain_only(self) -> "AugmentConfig":
        """Return what the last epochs use: other levels, but nothing that distorts."""
        return replace(
            self,
            speeds=(1.0,),
            noise_probability=0.0,
            reverb_probability=0.0,
            equalizer_probability=0.0,
            telephone_probability=0.0,
            vtlp_range=(1.0, 1.0),
            frequency_masks=0,
            time_masks_per_s=0.0,
        )


def draw_timing(config: AugmentConfig, rng: np.random.Generator) -> tuple[float, float]:
    """Draw how fast an utterance is played and the seconds of room before it, first of all."""
    speed = config.speeds[int(rng.integers(len(config.speeds)))]
    led = config.lead_probability and rng.random() < config.lead_probability
    return speed, rng.uniform(*config.lead_s) if led else 0.0


def augment_sound(
    sound: npt.NDArray[np.int16],
    noise: Corpus | None,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Samples:
    """Return int16 (n,) as float32 (m,) in [-1, 1] at another speed, level, room and noise."""
    samples = from_int16(sound)
    speed, lead_s = draw_timing(config, rng)
    if speed != 1.0:  # tempo and pitch together, as Ko et al. 2015
        samples = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ")
    if rng.random() < config.reverb_probability:
        samples = reverberate(samples, rng.uniform(*REVERB_RT60_S), rng)
    if lead_s:
        samples = after_room(samples, lead_s, noise, rng)
    if rng.random() < config.noise_probability:
        samples = add_noise(
            samples, _some_noise(len(samples), noise, rng), rng.uniform(*config.noise_snr_db)
        )
    if config.equalizer_probability and rng.random() < config.equalizer_probability:
        samples = equalize(samples, config.equalizer_db, rng)
    if config.telephone_probability and rng.random() < config.telephone_probability:
        samples = by_telephone(samples, rng)
    gain = 10.0 ** (rng.uniform(*config.gain_db) / 20.0)
    louder: Samples = np.clip(samples * np.float32(gain), -1.0, 1.0)
    return louder


def after_room(
    samples: Samples, seconds: float, noise: Corpus | None, rng: np.random.Generator
) -> Samples:
    """Return `samples` (n,) after `seconds` of a room as loud as their own quietest moment.

    Utterances of a corpus begin with their first word. A network that knows only those hears worse
    after a second of a quiet room, as any microphone gives it.
    """
    count = int(seconds * SAMPLE_RATE)
    level = quietest(samples) * 10.0 ** (rng.uniform(*ROOM_DB) / 20.0)
    room = _some_noise(count, noise if rng.random() < 0.5 else None, rng)
    if count:
        room = room * np.float32(level / (np.sqrt(np.mean(room**2)) + 1e-9))
    led: Samples = np.concatenate([room, samples])
    return led


def add_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Return `samples` (n,) with `noise` (n,) at `snr_db`, by powers over the whole utterance."""
    speech_power = float(np.mean(samples**2))
    noise_power = float(np.mean(noise**2)) + 1e-12  # a silent noise clip adds nothing
    scale = np.sqrt(speech_power / noise_power * 10.0 ** (-snr_db / 10.0))
    mixed: Samples = samples + noise * np.float32(scale)
    return mixed


def reverberate(samples: Samples, rt60_s: float, rng: np.random.Generator) -> Samples:
    """Return `samples` (n,) as a room of reverberation time `rt60_s` gives them, level kept.

    The response is a direct path and exponentially decaying white noise (Polack 1988): energy falls
    60 dB in `rt60_s`.
    """
    length = int(rt60_s * SAMPLE_RATE)
    decay = np.exp(-6.9 * np.arange(length) / length)  # ln(10^3) = 6.9: amplitude falls by 60 dB
    response = rng.standard_normal(length) * decay * rng.uniform(0.02, 0.12)
    response[0] = 1.0
    size = 1 << int(len(samples) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[
        : len(samples)
    ]
    level = np.sqrt(np.mean(samples**2) / (np.mean(wet**2) + 1e-12))
    leveled: Samples = (wet * level).astype(np.float32)
    return leveled


def equalize(samples: Samples, limit_db: float, rng: np.random.Generator) -> Samples:
    """Return `samples` (n,) as another microphone gives them: a smooth random frequency response.

    Gains at EQUALIZER_KNOTS_HZ are drawn within ±`limit_db`, between them the gain in dB is a line
    over the logarithm of frequency. Nam et al. 2022 (FilterAugment) do it to log-mel frames.
    """
    gains_db = rng.uniform(-limit_db, limit_db, len(EQUALIZER_KNOTS_HZ))

    def gains(hertz: npt.NDArray[Any]) -> npt.NDArray[Any]:
        curve = np.interp(np.log(np.maximum(hertz, 1.0)), np.log(EQUALIZER_KNOTS_HZ), gains_db)
        amplitudes: npt.NDArray[Any] = 10.0 ** (curve / 20.0)
        return amplitudes

    return _filtered(samples, gains)


def by_telephone(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return `samples` (n,) as a telephone line lets them through: no band below and above it."""
    low, high = rng.uniform(*TELEPHONE_LOW_HZ), rng.uniform(*TELEPHONE_HIGH_HZ)
    edges_hz = [0.7 * low, low, high, 1.03 * high]
    return _filtered(samples, lambda hertz: np.interp(hertz, edges_hz, [0.0, 1.0, 1.0, 0.0]))


def _filtered(samples: Samples, gains: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Samples:
    """Return `samples` (n,) with each frequency, in Hz, as many times as loud as `gains` says."""
    size = 1 << int(len(samples) + SAMPLE_RATE // 100).bit_length()  # its response is short
    hertz = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    wave = np.fft.irfft(np.fft.rfft(samples, size) * gains(hertz), size)[: len(samples)]
    filtered: Samples = wave.astype(np.float32)
    return filtered


def _some_noise(length: int, noise: Corpus | None, rng: np.random.Generator) -> Samples:
    """A random stretch of a random recording, repeated if short; white noise if there is none."""
    if noise is None or rng.random() < 0.1:
        return rng.standard_normal(length).astype(np.float32)
    clip = from_int16(noise.sound(int(rng.integers(len(noise)))))
    clip = np.resize(clip, max(length, len(clip)))
    start = int(rng.integers(len(clip) - length + 1))
    return clip[start : start + length]


def warp_bands(
    frames: torch.Tensor, centers_hz: npt.NDArray[np.float64], factor: float
) -> torch.Tensor:
    """Return log-mel `frames` (T, n_mels) of a vocal tract that is `factor` times as long.

    What sounded at f sounds at f / `factor`, up to WARP_KNEE_HZ; from there to the last band the
    axis is a straight line (Jaitly and Hinton 2013, "VTLP"). Between bands it is interpolated.
    """
    top = centers_hz[-1]
    knee = WARP_KNEE_HZ * min(factor, 1.0) / factor
    warped_hz = np.interp(centers_hz, [0.0, knee, top], [0.0, knee * factor, top])
    place = np.interp(warped_hz, centers_hz, np.arange(len(centers_hz)))
    low = np.minimum(place.astype(np.int64), len(centers_hz) - 2)
    part = torch.from_numpy((place - low).astype(np.float32))
    return torch.lerp(frames[:, low], frames[:, low + 1], part)


def mask_frames(
    frames: torch.Tensor, length: int, config: AugmentConfig, rng: np.random.Generator
) -> None:
    """SpecAugment in place (Park et al. 2019): set parts of (T, n_mels) to the mean, 0."""
    bands = frames.shape[1]
    for _ in range(config.frequency_masks):
        width = int(rng.integers(config.frequency_mask_bins + 1))
        low = int(rng.integers(bands - width + 1))
        frames[:, low : low + width] = 0.0
    for _ in range(round(config.time_masks_per_s * length / 100)):
        width = int(rng.integers(config.time_mask_frames + 1))
        start = int(rng.integers(max(1, length - width)))
        frames[start : start + width] = 0.0
