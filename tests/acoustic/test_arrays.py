import numpy as np
import pytest

from rivulet.acoustic.arrays import (
    GROUP,
    QUANTIZED,
    SCALES,
    ZERO,
    dft_matrix,
    for_operators,
    in_8_bits,
)


def test_the_dft_matrix_is_the_fourier_transform_of_a_real_signal():
    signal = np.random.default_rng(0).standard_normal((3, 400))
    product = signal @ dft_matrix(400)
    expected = np.fft.rfft(signal)
    np.testing.assert_allclose(product[:, :201], expected.real, atol=1e-4)
    np.testing.assert_allclose(-product[:, 201:], expected.imag, atol=1e-4)


def arrays(made):
    return {name: pieces.copied_to(bytearray(pieces.nbytes)) for name, pieces in made}


def test_gates_come_in_the_order_of_onnx_and_products_transposed():
    rng = np.random.default_rng(2)
    cell = {
        "cell.weight_ih_l0": rng.standard_normal((6, 2)),
        "cell.weight_hh_l0": rng.standard_normal((6, 2)),
        "cell.bias_ih_l0": rng.standard_normal(6),
        "cell.bias_hh_l0": rng.standard_normal(6),
        "output.weight": rng.standard_normal((3, 4)),
        "output.bias": rng.standard_normal(3),
    }
    cell = {name: value.astype(np.float16) for name, value in cell.items()}
    stored = arrays(for_operators(cell))
    order = [2, 3, 0, 1, 4, 5]  # torch: reset, update, new; ONNX: update, reset, new
    for name in ("cell.weight_ih_l0", "cell.weight_hh_l0"):
        assert np.array_equal(stored[name], cell[name][order][None])
    biases = [cell[f"cell.bias_{kind}_l0"][order] for kind in ("ih", "hh")]
    assert np.array_equal(stored["cell.bias_l0"], np.concatenate(biases)[None])
    assert np.array_equal(stored["output.weight"], cell["output.weight"].T)
    assert np.array_equal(stored["output.bias"], cell["output.bias"])
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("columns", [32, 64, 80, 5])
def test_8_bits_are_off_by_half_a_step_at_most(columns):
    weights = np.random.default_rng(1).standard_normal((7, columns)).astype(np.float32)
    stored = arrays(in_8_bits({"w": weights, "bias": weights[0]}))
    assert stored.keys() == {"w" + QUANTIZED, "w" + SCALES, "bias"}
    scales = stored["w" + SCALES].reshape(7, -1, 1)
    steps = stored["w" + QUANTIZED].astype(np.float32) - ZERO
    back = (steps * scales).reshape(7, -1)
    assert back.shape[1] % GROUP == 0
    assert not back[:, columns:].any()  # what fills the last group up is 0
    error = np.abs(back[:, :columns] - weights)
    assert (error <= np.repeat(scales[..., 0], GROUP, axis=1)[:, :columns] * 0.5001).all()


def test_a_group_of_zeros_stays_zero():
    stored = arrays(in_8_bits({"w": np.zeros((2, 32), np.float32)}))
    assert (stored["w" + QUANTIZED] == ZERO).all()
    assert not stored["w" + SCALES].any()
