import numpy as np
import pytest
from safetensors.numpy import save_file
from support import ROOT

from rivulet.checkpoint.tensors import TensorFile


def test_what_the_library_writes_is_read(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.standard_normal((3, 4)).astype(np.float32),
        "b": rng.standard_normal(7).astype(np.float16),
        "c": rng.integers(-5, 5, (2, 3, 4)).astype(np.int8),
    }
    save_file(arrays, tmp_path / "x.safetensors", metadata={"made": "here"})
    found = TensorFile(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x05\0\0\0\0\0\0\0{}"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r"header|Expecting|Extra"):
        TensorFile(tmp_path / "x")


def test_nothing_is_read_before_it_is_asked_for():
    weights = TensorFile(ROOT / "checkpoints" / "default" / "model.safetensors")
    assert len(weights) > 40
    assert weights["output.weight"].shape[1] == 512
