import numpy as np
import torch
import torchaudio
from support import SAMPLES

from rivulet import audio
from rivulet.acoustic.features import FeatureConfig
from rivulet.acoustic.log_mel import LogMel, MatrixLogMel


def sound():
    return torch.from_numpy(np.concatenate(list(audio.read(SAMPLES / "slt.flac")))[:32_240])


def test_log_mel_has_one_frame_per_hop():
    log_mel = LogMel(FeatureConfig())
    for n in (400, 559, 560, 16_000):
        assert log_mel(torch.zeros(n)).shape == (1 + (n - 400) // 160, 80)


def test_frames_are_those_of_torchaudio():
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, 400, 400, 160, 20.0, 7600.0, n_mels=80, center=False, norm="slaney",
        mel_scale="slaney",
    )(sound())  # fmt: skip
    assert torch.equal(LogMel(FeatureConfig())(sound()), torch.log(mel.T + 1e-9))


def test_as_a_matrix_product_it_is_as_near_to_the_truth_as_torchaudio():
    log_mel = LogMel(FeatureConfig())
    as_matrix = MatrixLogMel(log_mel)(sound()[None])[0]
    assert (as_matrix - log_mel(sound())).abs().mean() < 1e-5
    exact = LogMel(FeatureConfig()).double()(sound().double())
    errors = [(frames - exact).abs().max() for frames in (as_matrix, log_mel(sound()))]
    assert errors[0] < 1.5 * errors[1] < 0.01


def test_digital_silence_is_finite():
    log_mel = LogMel(FeatureConfig())
    for module in (log_mel, MatrixLogMel(log_mel)):
        assert torch.isfinite(module(torch.zeros(1, 8_080))).all()
