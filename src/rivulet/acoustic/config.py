"""The shape of the network, as a checkpoint stores it."""

from dataclasses import dataclass
from typing import Literal, get_args

from rivulet.acoustic.frames import STRIDE
from rivulet.errors import ConfigError

Cell = Literal["gru", "lstm", "rnn"]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network.

    `phones` counts the tokens of a second projection, for the beam's lexicon; 0 if there is none.
    `lookahead` counts future output frames of 40 ms; `lookahead_ms` is what they cost in latency.
    """

    tokens: int = 29
    phones: int = 0
    n_mels: int = 80
    channels: int = 32
    hidden: int = 512
    layers: int = 3
    cell: Cell = "gru"
    lookahead: int = 4
    lookahead_ms: int = 160
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check the shape.

        Raises:
            ConfigError: a number is not positive, the cell is unknown, or the cost of the lookahead
                is misstated.
        """
        if self.cell not in get_args(Cell):
            raise ConfigError(
                f"cell {self.cell!r} is unknown; use one of {', '.join(get_args(Cell))}."
            )
        for name in ("tokens", "n_mels", "channels", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.phones < 0:
            raise ConfigError(f"phones is {self.phones}; it must be at least 0.")
        if self.lookahead < 0 or self.lookahead_ms != self.lookahead * STRIDE * 10:
            raise ConfigError(
                f"lookahead {self.lookahead} costs {self.lookahead * STRIDE * 10} ms, not "
                f"{self.lookahead_ms} ms; "
                "correct lookahead_ms."
            )
