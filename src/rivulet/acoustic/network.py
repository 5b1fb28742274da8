"""The network of a block in torch, samples to log-probabilities: reference, and what ships."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rivulet.acoustic.arrays import Weights
from rivulet.acoustic.choices import EngineName
from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.engine import FloatArray, StateLayout
from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.log_mel import FeatureStatistics, LogMel
from rivulet.acoustic.model import AcousticModel, ModelState


class BlockNetwork(nn.Module):
    """(samples, state) → (log_probs, state), both states as rows of numbers."""

    def __init__(
        self, frontend: nn.Module, statistics: FeatureStatistics, model: AcousticModel
    ) -> None:
        """Put frontend, normalization and model in a row."""
        super().__init__()
        self.frontend = frontend
        self.statistics = statistics
        self.model = model
        tensors = model.initial_state(1).tensors
        self.shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
        self.sizes = [math.prod(shape) for shape in self.shapes]

    @property
    def layout(self) -> StateLayout:
        """Where the recurrent layers' part of the state lies."""
        ones = ModelState.of([torch.ones(1, *shape) for shape in self.shapes])
        kept = torch.cat([tensor.flatten() for tensor in ones.reset_recurrent().tensors])
        zeros = (kept == 0.0).nonzero().flatten()
        return StateLayout(len(kept), (int(zeros[0]), int(zeros[-1]) + 1))

    def forward(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one block; shapes as in `Engine.step`."""
        pieces = torch.split(state, self.sizes, dim=1)
        tensors = [
            piece.reshape(-1, *shape) for piece, shape in zip(pieces, self.shapes, strict=True)
        ]
        frames = self.statistics.normalize(self.frontend(samples))
        log_probs, new = self.model(frames, ModelState.of(tensors))
        return log_probs, torch.cat([tensor.flatten(1) for tensor in new.tensors], dim=1)


@dataclass(frozen=True)
class TorchEngine:
    """The torchaudio frontend and the PyTorch network themselves."""

    network: BlockNetwork
    layout: StateLayout
    name: EngineName = "torch"

    @classmethod
    def of(
        cls, features: FeatureConfig, statistics: FeatureStatistics, model: AcousticModel
    ) -> "TorchEngine":
        """Return the engine of a model."""
        network = BlockNetwork(LogMel(features), statistics, model).eval()
        return cls(network, network.layout)

    @classmethod
    def load(
        cls,
        features: FeatureConfig,
        statistics: tuple[FloatArray, FloatArray],
        config: ModelConfig,
        weights: Weights,
        threads: int = 1,
    ) -> "TorchEngine":
        """Return the engine of stored `weights`, and mean and deviation (n_mels,) of the frames."""
        torch.set_num_threads(threads)
        model = AcousticModel(config)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        mean, std = map(torch.from_numpy, statistics)
        return cls.of(features, FeatureStatistics(mean, std), model.eval().requires_grad_(False))

    @property
    def model(self) -> AcousticModel:
        """The network without its frontend."""
        return self.network.model

    @property
    def statistics(self) -> FeatureStatistics:
        """What normalizes the frames."""
        return self.network.statistics

    @property
    def threads(self) -> int:
        """CPU threads, the same for all that torch does in this process."""
        return torch.get_num_threads()

    @property
    def arithmetic(self) -> str:
        """What its last bits depend on."""
        capability = torch.backends.cpu.get_cpu_capability()  # such as AVX2: kernels differ in it
        return f"torch {torch.__version__} {capability}"

    def joins(self, frames: int) -> bool:
        """No: torch's sums depend on how many frames there are."""
        return False

    @torch.inference_mode()
    def step(self, samples: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Advance B streams by one block, each by itself: torch's sums depend on the batch."""
        rows = [
            self.network(torch.from_numpy(samples[i : i + 1]), torch.from_numpy(state[i : i + 1]))
            for i in range(len(samples))
        ]
        log_probs = np.concatenate([row[0].numpy() for row in rows])
        return log_probs, np.concatenate([row[1].numpy() for row in rows])
