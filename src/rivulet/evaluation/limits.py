"""How fast the network could be on this machine: the work of a block, and what a thread does."""

import os
import subprocess
import sys
from dataclasses import dataclass

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.frames import STRIDE, WINDOW

BYTES = {"onnx": 4.0, "torch": 4.0, "onnx8": 1.125}  # a weight in memory; 8 bits and a scale for 32
LARGE = 1024  # rows and columns of the product that shows the machine's peak

MEASURE = """
import sys, time
import numpy as np

def best(run, seconds=0.4):
    shortest, end = 1e9, time.process_time() + seconds
    while time.process_time() < end:
        began = time.process_time()
        run()
        shortest = min(shortest, time.process_time() - began)
    return shortest

size, side = int(sys.argv[1]) // 4, int(sys.argv[2])
weights, matrix = np.ones(size, np.float32), np.ones((side, side), np.float32)
threads = int(sys.argv[3])  # seconds of CPU are those of all threads together
reading, product = best(lambda: weights.dot(weights)), best(lambda: matrix @ matrix)
print(threads * size * 4 / reading, threads * side**3 / product)
"""


@dataclass(frozen=True)
class Work:
    """What one block of one stream takes: multiplications, and bytes of weights that are read.

    bytes_read: the recurrent matrices count once for every output frame, as their products wait
        for one another; the others once.
    weight_bytes: of all weights, each once.
    """

    multiplications: int
    bytes_read: float
    weight_bytes: float


@dataclass(frozen=True)
class Limits:
    """What the machine does in as many threads as the network has.

    bandwidth: bytes a second, read from as much memory as the weights take.
    multiplications: a second, float32, in a large matrix product.
    """

    bandwidth: float
    multiplications: float

    def block_s(self, work: Work, streams: int) -> float:
        """Return the least seconds in which a block of so many streams can be computed."""
        reading = work.bytes_read / self.bandwidth
        return max(reading, streams * work.multiplications / self.multiplications)


def work_of(config: ModelConfig, engine: str, frames: int) -> Work:
    """Return the work of a block of `frames` output frames."""
    gates = {"gru": 3, "lstm": 4, "rnn": 1}[config.cell]
    half, quarter = -(-config.n_mels // 2), -(-config.n_mels // 4)
    square = config.layers * gates * config.hidden**2
    project = config.channels * quarter * config.hidden
    heads = (config.tokens + config.phones) * config.hidden
    bins = WINDOW // 2 + 1
    frontend = STRIDE * (WINDOW * 2 * bins + bins * config.n_mels)
    convolutions = 2 * half * config.channels * 9 + quarter * config.channels**2 * 9
    row = config.hidden * (config.lookahead + 1)
    each = 2 * square + project + heads + frontend + convolutions + row
    once, again = square + project + heads, square
    size = BYTES[engine]
    return Work(frames * each, size * (once + frames * again), size * (once + again))


def measure_limits(work: Work, threads: int = 1) -> Limits:
    """Measure this machine in a process of its own, whose number of threads can be set."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(int(work.weight_bytes)), str(LARGE), str(threads)],
        env={**os.environ, **dict.fromkeys(names, str(threads))},
        capture_output=True,
        text=True,
        check=True,
    )
    bandwidth, multiplications = map(float, done.stdout.split())
    return Limits(bandwidth, multiplications)
