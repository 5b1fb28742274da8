"""Training with lattice-free MMI, from the recipe to the weights."""

import csv
import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from support import SAMPLES

from rivulet.acoustic.model import ModelConfig
from rivulet.corpora.manifest import write_manifest
from rivulet.corpora.sources import sound_folder
from rivulet.errors import ConfigError
from rivulet.training.batches import Batch, HeadTarget
from rivulet.training.config import DataConfig, Recipe
from rivulet.training.data import prepare
from rivulet.training.denominator import Denominator, phone_ngram
from rivulet.training.heads import ctc_losses, denominator_loss
from rivulet.training.initial_weights import read_run
from rivulet.training.log import TrainingLog
from rivulet.training.loop import RESUME_FILE, train
from rivulet.training.resume import Progressed

SMALL = Recipe(
    epochs=2,
    ctc_epochs=1,
    batch_s=9.0,
    learning_rate=3e-3,
    warmup_steps=5,
    log_every=1,
    head_weights={"characters": 0.4, "phones": 0.25},
    head_layers={},
    mmi_weight=1.0,
    model=ModelConfig(channels=4, hidden=32, layers=2, dropout=0.1),
)


@pytest.fixture
def data(tmp_path):
    """Every sample clip, said to say one of two texts."""
    texts = ("THE BOAT", "BOAT THE BOAT")
    items = [
        dataclasses.replace(item, text=texts[i % 2]) for i, item in enumerate(sound_folder(SAMPLES))
    ]
    write_manifest(tmp_path / "list.tsv", items)
    (tmp_path / "dictionary.txt").write_text("THE DH AH0\nBOAT B OW1 T\n")
    (tmp_path / "more.txt").write_text("THE THE\nTHE UNKNOWN\n")
    return DataConfig(
        (str(tmp_path / "list.tsv"),),
        str(tmp_path / "list.tsv"),
        None,
        str(tmp_path / "dictionary.txt"),
        str(tmp_path / "cache"),
        (str(tmp_path / "more.txt"),),
    )


def steps(folder):
    with (folder / "steps.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_mmi_begins_after_the_ctc_epochs_and_resumes_exactly(tmp_path, data):
    train(SMALL, data, tmp_path / "whole")
    for count in (1, 3, None):
        train(dataclasses.replace(SMALL, max_steps=count), data, tmp_path / "parts")
    whole, parts = (load_file(tmp_path / run / RESUME_FILE) for run in ("whole", "parts"))
    names = [name for name in whole if name.startswith("model.")]
    assert names
    assert all(torch.equal(whole[name], parts[name]) for name in names)
    rows = steps(tmp_path / "whole")
    plain = [row for row in rows if row["epoch"] == 0]
    with_mmi = [row for row in rows if row["epoch"] == 1]
    assert all(row["phones-mmi"] == row["phones"] for row in plain)
    assert all(row["phones-mmi"] < row["phones"] for row in with_mmi)  # by what all others share


def test_dev_is_measured_by_mmi_of_each_text_alone(tmp_path, data):
    recipe = dataclasses.replace(SMALL, epochs=1, ctc_epochs=0)
    train(recipe, data, tmp_path / "run")
    with (tmp_path / "run" / "dev.csv").open() as file:
        noted = float(next(csv.DictReader(file))["phones-mmi"])
    made = prepare(recipe, data, tmp_path / "run", None, world_size=1)
    model = read_run(tmp_path / "run").model.eval()
    total = phones = 0.0
    for index in range(len(made.dev.corpus)):
        batch = made.dev.make([index], epoch=0)
        with torch.no_grad():
            log_probs = model(batch.frames)
        target, steps_of = batch.targets["phones"], batch.steps
        ctc = torch.nn.functional.ctc_loss(
            log_probs["phones"].transpose(0, 1),
            target.ids.view(1, -1),
            steps_of,
            target.lengths,
            reduction="sum",
        )
        total += float(ctc + made.denominator(log_probs["phones"], steps_of).sum())
        phones += int(target.lengths.sum())
    assert noted == pytest.approx(total / phones, rel=0.02)  # quick arithmetic rounds


def test_a_table_begun_without_a_column_goes_on_without_it(tmp_path):
    (tmp_path / "dev.csv").write_text("epoch,step,characters\n1,10,0.5\n")
    with TrainingLog(tmp_path, steps=20, every=1, loud=False) as log:
        log.dev(Progressed(step=20, epoch=2), {"characters": 0.4}, {"phones-mmi": -1.5})
    lines = (tmp_path / "dev.csv").read_text().splitlines()
    assert lines == ["epoch,step,characters", "1,10,0.5", "2,20,0.4"]


def random_batch(lengths, steps):
    """A batch of one head whose texts repeat one phone."""
    target = HeadTarget(
        torch.arange(len(lengths)),
        torch.ones(sum(lengths), dtype=torch.long),
        torch.tensor(lengths),
    )
    return Batch(torch.zeros(0), torch.tensor(steps), {"phones": target}, [], 0.0)


def test_what_is_too_short_for_its_text_counts_for_neither_part_of_mmi():
    denominator = Denominator.of(phone_ngram([[1, 1], [1, 2]], 3, 3))
    log_probs = torch.randn(2, 5, 3).log_softmax(-1)
    both = random_batch([3, 3], [5, 4])  # the second needs 5 steps: 1, blank, 1, blank, 1
    first = random_batch([3], [5])
    views = {"phones": log_probs}, {"phones": log_probs[:1]}
    for part in (
        lambda view, batch: ctc_losses(view, batch)["phones"],
        lambda view, batch: denominator_loss(view, batch, "phones", denominator),
    ):
        assert float(part(views[0], both)) == pytest.approx(float(part(views[1], first)) / 2)


def test_mmi_of_a_batch_without_a_target_is_nothing():
    denominator = Denominator.of(phone_ngram([[1]], 3, 3))
    log_probs = torch.randn(1, 2, 3).log_softmax(-1).requires_grad_()
    loss = denominator_loss({"phones": log_probs}, random_batch([3], [2]), "phones", denominator)
    loss.backward()
    assert not loss.item()
    assert log_probs.grad is not None
    assert not log_probs.grad.any()


def test_mmi_lowers_a_rival_that_the_ngram_favors_where_ctc_does_not_care():
    denominator = Denominator.of(phone_ngram([[2]] * 50 + [[1]], 4, 3))
    logits = torch.zeros(1, 2, 4, requires_grad=True)
    batch = random_batch([1], [2])
    views = {"phones": logits.log_softmax(-1)}
    ctc = ctc_losses(views, batch)["phones"]
    mmi = ctc + denominator_loss(views, batch, "phones", denominator)
    (of_ctc,) = torch.autograd.grad(ctc, logits, retain_graph=True)
    (of_mmi,) = torch.autograd.grad(mmi, logits)
    rival, other = of_ctc[0, 0, 2], of_ctc[0, 0, 3]
    assert rival.item() == pytest.approx(other.item())
    assert of_mmi[0, 0, 2].item() > 10 * abs(of_mmi[0, 0, 3].item())
    assert of_mmi[0, 0, 1].item() < 0.0


def test_a_recipe_says_what_mmi_lacks():
    with pytest.raises(ConfigError, match="none of 1 heads writes phones"):
        Recipe(head_weights={"characters": 1.0}, mmi_weight=1.0)
    with pytest.raises(ConfigError, match="phone_lm_order is 5; use 3 or 4"):
        Recipe(phone_lm_order=5)
    assert Recipe().mmi_head is None
