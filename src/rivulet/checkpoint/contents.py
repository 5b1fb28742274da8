"""What a checkpoint holds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rivulet.acoustic.config import ModelConfig
from rivulet.acoustic.engine import Engine
from rivulet.acoustic.features import FeatureConfig
from rivulet.decoding.settings import BeamSettings, TimingConfig
from rivulet.errors import ConfigError
from rivulet.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rivulet.acoustic.log_mel import FeatureStatistics
    from rivulet.acoustic.model import AcousticModel
    from rivulet.acoustic.network import TorchEngine


@dataclass(frozen=True)
class Checkpoint:
    """A model and everything needed to run it.

    engine: the network, ready to run.
    config: the network's shape.
    phones: what the network's second projection writes; None if it has none.
    language_model: the folder of the language model; None if the model ships without.
    """

    engine: Engine
    config: ModelConfig
    tokenizer: Tokenizer
    features: FeatureConfig
    phones: Tokenizer | None = None
    language_model: Path | None = None
    timing: TimingConfig = field(default_factory=TimingConfig)
    beam: BeamSettings = field(default_factory=BeamSettings)
    name: str = "unnamed"
    digest: str = ""  # sha256 over config.json: names weights and settings in one word

    @classmethod
    def of(
        cls,
        model: "AcousticModel",
        tokenizer: Tokenizer,
        features: FeatureConfig,
        statistics: "FeatureStatistics",
        **more: Any,
    ) -> "Checkpoint":
        """Return the checkpoint of a PyTorch model; `more` are the other fields."""
        from rivulet.acoustic.network import TorchEngine

        engine = TorchEngine.of(features, statistics, model)
        return cls(engine, model.config, tokenizer, features, **more)

    @property
    def torch(self) -> "TorchEngine":
        """The network in PyTorch, with its weights.

        Raises:
            ConfigError: another engine was loaded.
        """
        if self.engine.name != "torch":
            raise ConfigError(
                f"the model {self.name} runs on the engine {self.engine.name}, which has no "
                'PyTorch network; load it with engine="torch".'
            )
        return cast("TorchEngine", self.engine)
