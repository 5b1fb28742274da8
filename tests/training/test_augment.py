"""Sound is varied as it should be, and the same for the same seed."""

import numpy as np
import pytest
import torch

from rivulet.acoustic.features import FeatureConfig, band_centers
from rivulet.acoustic.log_mel import LogMel
from rivulet.training.augment import (
    AugmentConfig,
    add_noise,
    after_room,
    augment_sound,
    by_telephone,
    equalize,
    mask_frames,
    reverberate,
    warp_bands,
)


def test_a_longer_vocal_tract_sounds_lower():
    """A tone moves to its frequency divided by the factor; silence and the ends stay."""
    centers_hz = band_centers(FeatureConfig())
    log_mel = LogMel(FeatureConfig())
    peaks_hz = torch.arange(201)[log_mel.mel.mel_scale.fb.argmax(0)] * 40.0
    np.testing.assert_allclose(centers_hz, peaks_hz, atol=20.0)  # half a bin of the spectrum
    time = np.arange(16_000) / 16_000
    for hertz in (400.0, 1500.0, 3000.0):
        tone = torch.from_numpy(np.sin(2 * np.pi * hertz * time).astype(np.float32))
        for factor in (0.9, 1.0, 1.12):
            warped = warp_bands(log_mel(tone), centers_hz, factor)
            warped_hz = centers_hz[int(warped.mean(0).argmax())]
            assert warped_hz == pytest.approx(hertz / factor, rel=0.05)
    silence = log_mel(torch.zeros(1_600))
    torch.testing.assert_close(warp_bands(silence, centers_hz, 0.9), silence)
    frames = torch.randn(9, 80)
    assert torch.equal(warp_bands(frames, centers_hz, 1.0), frames)
    torch.testing.assert_close(warp_bands(frames, centers_hz, 1.12)[:, -1], frames[:, -1])


def test_noise_is_added_at_the_asked_ratio():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(16_000).astype(np.float32)
    noise = 7.0 * rng.standard_normal(16_000).astype(np.float32)
    for snr_db in (0.0, 10.0, 20.0):
        added = add_noise(speech, noise, snr_db) - speech
        assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(
            snr_db, abs=0.1
        )


def test_a_room_keeps_level_and_length_and_adds_a_tail():
    click = np.zeros(16_000, np.float32)
    click[1_000] = 1.0
    wet = reverberate(click, 0.3, np.random.default_rng(0))
    assert len(wet) == 16_000
    assert np.sqrt(np.mean(wet**2)) == pytest.approx(np.sqrt(np.mean(click**2)), rel=0.01)
    assert np.abs(wet[:1_000]).max() < 1e-6
    early, late = np.mean(wet[1_001:2_000] ** 2), np.mean(wet[4_800:5_800] ** 2)
    assert early > 10 * late > 0.0


def test_a_telephone_takes_away_what_lies_beside_its_band_and_moves_nothing():
    time = np.arange(32_000) / 16_000
    for hertz, kept in ((30.0, 0.0), (500.0, 1.0), (3000.0, 1.0), (4200.0, 0.0), (7000.0, 0.0)):
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        heard = by_telephone(tone, np.random.default_rng(2))
        assert heard.shape == tone.shape
        assert heard.dtype == np.float32
        inside = slice(4_000, -4_000)  # the ends of a tone are clicks, of every frequency
        np.testing.assert_allclose(heard[inside], kept * tone[inside], atol=0.01)


def test_an_equalizer_colors_within_its_limit_and_moves_nothing():
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    colored = equalize(noise, 6.0, np.random.default_rng(1))
    assert colored.shape == noise.shape
    assert colored.dtype == np.float32
    assert int(np.argmax(np.correlate(colored[:8_000], noise[:8_000], "full"))) == 7_999
    bands_db = 20.0 * np.log10(
        [
            np.linalg.norm(after) / np.linalg.norm(before)
            for before, after in zip(
                np.array_split(np.fft.rfft(noise)[1:], 40),
                np.array_split(np.fft.rfft(colored)[1:], 40),
                strict=True,
            )
        ]
    )
    assert np.abs(bands_db).max() < 6.5
    assert np.ptp(bands_db) > 2.0


def test_augmentation_is_the_same_for_the_same_seed():
    sound = (np.random.default_rng(0).standard_normal(16_000) * 3_000).astype(np.int16)
    config = AugmentConfig(noise_probability=1.0, reverb_probability=1.0, equalizer_probability=1.0)
    one, two, other = (
        augment_sound(sound, None, config, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one[:10_000], other[:10_000])
    assert np.abs(one).max() <= 1.0


def test_the_last_epochs_vary_only_the_level():
    sound = (np.random.default_rng(0).standard_normal(16_000) * 3_000).astype(np.int16)
    plain = AugmentConfig(
        noise_probability=1.0,
        reverb_probability=1.0,
        equalizer_probability=1.0,
        vtlp_range=(0.9, 1.12),
    ).gain_only()
    assert plain.vtlp_range == (1.0, 1.0)
    heard = augment_sound(sound, None, plain, np.random.default_rng(5))
    gain = heard / (sound / 32768.0 + 1e-12)
    assert np.ptp(gain[np.abs(sound) > 500]) < 1e-3
    frames = torch.ones(400, 80)
    mask_frames(frames, 400, plain, np.random.default_rng(0))
    assert frames.min() == 1.0


def test_speed_changes_length():
    sound = np.zeros(16_000, np.int16)
    lengths = {
        len(augment_sound(sound, None, AugmentConfig((s,)), np.random.default_rng(0)))
        for s in (0.8, 1.0, 1.25)
    }
    assert lengths == {20_000, 16_000, 12_800}


def test_a_room_before_an_utterance_is_as_quiet_as_its_pauses():
    rng = np.random.default_rng(0)
    speech = np.concatenate([rng.normal(0, 0.1, 8000), rng.normal(0, 0.003, 4000)])
    for seed in range(8):
        led = after_room(speech.astype(np.float32), 1.5, None, np.random.default_rng(seed))
        room, rest = led[: -len(speech)], led[-len(speech) :]
        assert len(room) == 24_000
        np.testing.assert_array_equal(rest, speech.astype(np.float32))
        assert 0.0002 < np.sqrt(np.mean(room**2)) < 0.0045


def test_a_room_before_silence_or_a_click_is_silent():
    for length in (0, 100, 16_000):
        led = after_room(np.zeros(length, np.float32), 0.5, None, np.random.default_rng(0))
        assert len(led) == 8000 + length
        assert np.abs(led).max() < 1e-6


def test_the_time_before_an_utterance_is_drawn_as_often_as_asked():
    sound = np.zeros(16_000, np.int16)
    config = AugmentConfig(speeds=(1.0,), lead_probability=0.5, lead_s=(0.5, 1.0))
    rngs = [np.random.default_rng(seed) for seed in range(200)]
    lengths = np.array([len(augment_sound(sound, None, config, rng)) for rng in rngs])
    led = lengths[lengths > 16_000] - 16_000
    assert 70 < len(led) < 130
    assert led.min() >= 7_999
    assert led.max() <= 16_000


def test_masks_cover_bands_and_stretches():
    frames = torch.ones(400, 80)
    mask_frames(frames, 400, AugmentConfig(), np.random.default_rng(0))
    covered = float((frames == 0.0).float().mean())
    assert 0.01 < covered < 0.6
