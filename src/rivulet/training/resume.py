"""Where a run stands, on disk: a resume point is replaced in one move and never half written."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as serialized

from rivulet.replacing import replacing
from rivulet.training.heads import HeadedModel
from rivulet.training.optimizer import Optimizers, moments, restore_moments

Tensors = dict[str, torch.Tensor]


@dataclass
class Progressed:
    """How far a run has come: epochs, batches of the open one, optimizer steps, best dev WER."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_wer: float = math.inf


@dataclass(frozen=True)
class TrainState:
    """What training changes: the model, its moving average, and the optimizers."""

    model: HeadedModel
    average: HeadedModel
    optimizers: Optimizers

    def tensors(self) -> Tensors:
        """Return everything by name, on the CPU."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in moments(self.optimizers).items()}
        return on_cpu(tensors)

    def restore(self, tensors: Tensors) -> None:
        """Take over what `tensors` gave, full or half precision."""
        for prefix, module in (("model.", self.model), ("average.", self.average)):
            module.load_state_dict(_named(tensors, prefix))
        restore_moments(self.optimizers, _named(tensors, "optimizer."))


def _named(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def save_point(path: Path, state: TrainState, progressed: Progressed, half: bool = False) -> None:
    """Write a resume point; `half` keeps 16 bits of each number, to commit it."""
    tensors = state.tensors()
    if half:
        tensors = {
            k: v.to(torch.bfloat16) if v.is_floating_point() and v.ndim else v
            for k, v in tensors.items()
        }
    tensors["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random_cuda"] = torch.cuda.get_rng_state()
    with replacing(path) as part:
        metadata = {"progress": json.dumps(asdict(progressed))}
        part.write_bytes(serialized(tensors, metadata))


def load_point(path: Path, state: TrainState) -> Progressed:
    """Continue from `path` if it exists, else begin."""
    if not path.exists():
        return Progressed()
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        progress = json.loads(file.metadata()["progress"])
    torch.set_rng_state(tensors.pop("random"))
    if "random_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random_cuda"])
    state.restore(tensors)
    return Progressed(**progress)


def on_cpu(tensors: Tensors) -> Tensors:
    """Return `tensors` on the CPU, contiguous, without gradients."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
