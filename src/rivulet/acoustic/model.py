"""`AcousticModel`: (frames, state) → (log_probs, state).

Causal subsampling, unidirectional layers, projection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.frames import STRIDE

KERNEL = 3  # taps of a convolution, in time and in frequency
TAIL = KERNEL - 2  # past inputs that a convolution of stride 2 still needs
CELLS: dict[str, type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn": nn.RNN,
}


@dataclass(frozen=True)
class ModelState:
    """All that the model remembers between two calls, for B streams; every tensor has B first.

    mel_tail: (B, 1, TAIL, n_mels), the last feature frame.
    conv_tail: (B, channels, TAIL, n_mels / 2), the last output of the first convolution.
    hidden: per layer (B, hidden), for an LSTM followed by its cell state (B, hidden).
    top_tail: (B, lookahead, hidden), outputs of the last layer that wait for their future.
    """

    mel_tail: Tensor
    conv_tail: Tensor
    hidden: tuple[Tensor, ...]
    top_tail: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor, in a fixed order."""
        return (self.mel_tail, self.conv_tail, *self.hidden, self.top_tail)

    @property
    def nbytes(self) -> int:
        """Bytes of all B streams together; constant however long they run."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def reset_recurrent(self) -> "ModelState":
        """Return the state that has forgotten all but the last frames: hidden and cell states 0."""
        hidden = tuple(torch.zeros_like(tensor) for tensor in self.hidden)
        return ModelState(self.mel_tail, self.conv_tail, hidden, self.top_tail)

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "ModelState":
        """Return the state made of `tensors`, in the order of `.tensors`."""
        return cls(tensors[0], tensors[1], tuple(tensors[2:-1]), tensors[-1])

    @classmethod
    def stack(cls, states: Sequence["ModelState"]) -> "ModelState":
        """Return one state of many streams from states of few."""
        return cls.of(
            [torch.cat(group) for group in zip(*(s.tensors for s in states), strict=True)]
        )

    def split(self) -> list["ModelState"]:
        """Return one state per stream."""
        columns = [torch.split(tensor, 1) for tensor in self.tensors]
        return [ModelState.of(row) for row in zip(*columns, strict=True)]


class Subsampling(nn.Module):
    """Two causal convolutions of stride 2 in time and frequency, then a projection.

    (B, 4k, n_mels) → (B, k, hidden).
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build the two convolutions."""
        super().__init__()
        self.first = nn.Conv2d(1, config.channels, KERNEL, stride=2)
        self.second = nn.Conv2d(config.channels, config.channels, KERNEL, stride=2)
        self.project = nn.Linear(config.channels * -(-config.n_mels // STRIDE), config.hidden)

    def forward(
        self, frames: Tensor, mel_tail: Tensor, conv_tail: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, k, hidden) and the two new tails."""
        mel, mel_tail = _with_tail(frames.unsqueeze(1), mel_tail)
        mel, conv_tail = _with_tail(functional.relu(self.first(mel)), conv_tail)
        planes = functional.relu(self.second(mel))  # (B, channels, k, n_mels / 4)
        return self.project(planes.transpose(1, 2).flatten(2)), mel_tail, conv_tail


class RecurrentLayer(nn.Module):
    """x + dropout(cell(LayerNorm(x))): pre-norm residual, so depth does not hurt the gradient.

    Dropout takes the same units at every step of a sequence (Gal and Ghahramani 2016).
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build one layer of `config.cell`."""
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden)
        self.cell = CELLS[config.cell](config.hidden, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, k, hidden) and its state of one or two (B, hidden) → the same."""
        past = tuple(tensor.unsqueeze(0).to(x.dtype) for tensor in state)
        y, last = self.cell(self.norm(x), past[0] if len(past) == 1 else past)
        new = (last,) if isinstance(last, Tensor) else tuple(last)
        if self.training:
            y = y * self.dropout(y.new_ones(len(y), 1, y.shape[2]))
        return x + y, tuple(tensor.squeeze(0) for tensor in new)

    @torch.no_grad()
    def identity_init(self) -> None:
        """Set the weights so that the output is the input: nothing new enters the cell's state.

        The gates stay as they are, and the zeros learn: their gradient is not 0.
        """
        hidden = self.cell.hidden_size
        for weight in self.cell.parameters():  # torch's order of gates has the candidate third
            candidate = weight[2 * hidden : 3 * hidden] if len(weight) > hidden else weight
            candidate.zero_()


class AcousticModel(nn.Module):
    """Frames → log-probabilities of tokens (and of phones, if it writes both), one row per 40 ms.

    Row i speaks of input step i - lookahead: the last layer's outputs wait for `lookahead` later
    ones, which a depthwise convolution weighs together (row convolution, Wang et al. 2016, arXiv
    1609.03193 footnote; Amodei et al. 2016, sec. 3.7). The first `lookahead` rows of a stream
    therefore speak of silence before it.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build the layers with random weights."""
        super().__init__()
        self.config = config
        self.subsampling = Subsampling(config)
        self.layers = nn.ModuleList(RecurrentLayer(config) for _ in range(config.layers))
        self.row = nn.Conv1d(
            config.hidden, config.hidden, config.lookahead + 1, groups=config.hidden
        )
        self.norm = nn.LayerNorm(config.hidden)
        self.output = nn.Linear(config.hidden, config.tokens)
        self.phone_output = nn.Linear(config.hidden, config.phones) if config.phones else None
        with (
            torch.no_grad()
        ):  # start as "no look into the future": the oldest tap is 1, the others 0
            self.row.weight.zero_()
            self.row.weight[..., 0] = 1.0
            self.row.bias.zero_()  # type: ignore[union-attr]

    @property
    def num_parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    def initial_state(self, batch: int = 1) -> ModelState:
        """Return the state of `batch` new streams: zeros, which is the mean feature."""
        config = self.config
        like = self.output.weight
        per_layer = 2 if config.cell == "lstm" else 1
        return ModelState(
            mel_tail=like.new_zeros(batch, 1, TAIL, config.n_mels),
            conv_tail=like.new_zeros(batch, config.channels, TAIL, -(-config.n_mels // 2)),
            hidden=tuple(
                like.new_zeros(batch, config.hidden) for _ in range(config.layers * per_layer)
            ),
            top_tail=like.new_zeros(batch, config.lookahead, config.hidden),
        )

    def encode(self, frames: Tensor, state: ModelState) -> tuple[list[Tensor], ModelState]:
        """Return each layer's output (B, k, hidden), the last after lookahead, and the state."""
        x, mel_tail, conv_tail = self.subsampling(frames, state.mel_tail, state.conv_tail)
        per_layer = len(state.hidden) // len(self.layers)
        outputs: list[Tensor] = []
        hidden: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            x, new = layer(x, state.hidden[index * per_layer : (index + 1) * per_layer])
            outputs.append(x)
            hidden.extend(new)
        waiting = torch.cat([state.top_tail.to(x.dtype), x], dim=1)
        outputs[-1] = self.norm(self.row(waiting.transpose(1, 2)).transpose(1, 2))
        top_tail = waiting[:, waiting.shape[1] - self.config.lookahead :]
        return outputs, ModelState(mel_tail, conv_tail, tuple(hidden), top_tail)

    def forward(self, frames: Tensor, state: ModelState) -> tuple[Tensor, ModelState]:
        """Advance by k output frames.

        Args:
            frames: (B, 4k, n_mels), normalized.
            state: what the previous call returned, or `initial_state(B)`.

        Returns:
            log_probs (B, k, tokens + phones), natural logarithm, and the new state. The tokens'
            probabilities sum to 1, and so do the phones'.
        """
        outputs, state = self.encode(frames, state)
        log_probs = functional.log_softmax(self.output(outputs[-1]).float(), dim=-1)
        if self.phone_output is None:
            return log_probs, state
        phones = functional.log_softmax(self.phone_output(outputs[-1]).float(), dim=-1)
        return torch.cat([log_probs, phones], dim=-1), state


def _with_tail(planes: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Prepend the past to (B, C, T, F), pad frequency on the left likewise, keep the new past."""
    joined = torch.cat([tail.to(planes.dtype), planes], dim=2)
    # odd band counts need one more band on the right for ceil(F / 2) outputs
    padding = (TAIL, planes.shape[3] % 2)
    return functional.pad(joined, padding), joined[:, :, joined.shape[2] - TAIL :]
