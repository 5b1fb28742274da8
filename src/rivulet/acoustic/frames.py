"""The grid of time: samples, feature frames, output frames. Only numbers: nothing to import."""

from rivulet.audio import SAMPLE_RATE

WINDOW = 400  # samples = 25 ms at 16 kHz
HOP = 160  # samples = 10 ms at 16 kHz
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
STRIDE = 4  # feature frames per output frame = two convolutions of stride 2, so 40 ms
FRAME_S = STRIDE * HOP / SAMPLE_RATE  # seconds per output frame: 0.04


def seconds_of(frames: int) -> float:
    """Return the seconds of sound that the first `frames` feature frames look at."""
    return ((frames - 1) * HOP + WINDOW) / SAMPLE_RATE if frames else 0.0


def output_frames(block_ms: int) -> int:
    """Return the output frames of a block."""
    return round(block_ms / 1000 / FRAME_S)


def algorithmic_latency_ms(block_ms: int, lookahead_ms: int) -> int:
    """Add block, lookahead, and what a 25 ms window reaches beyond its hop."""
    return block_ms + lookahead_ms + (WINDOW - HOP) * 1000 // SAMPLE_RATE
