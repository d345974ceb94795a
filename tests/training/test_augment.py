"""What training does to windows: each change does what it says, by its key, and to every network's view alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrhnet_jax.training import augment
from lrhnet_jax.training.augment import Augmentation

RATE = 257.0
EVERYTHING = Augmentation(mixup=0.4, gain=0.2, lead_drop=0.3, wander=0.2, noise=0.1, shift=9)


def batch(size=16, time=200, leads=3, classes=4):
    random = np.random.default_rng(0)
    signal = random.normal(size=(size, time, leads)).astype(np.float16)
    signal[:, :20] = 0  # short records
    demographics = random.uniform(size=(size, 5)).astype(np.float32)
    labels = (random.uniform(size=(size, classes)) < 0.5).astype(np.float32)
    return jnp.asarray(signal), jnp.asarray(demographics), jnp.asarray(labels)


def changed(augmentation, seed=0, **sizes):
    arrays = batch(**sizes)
    return arrays, jax.jit(augment.augment, static_argnums=0)(augmentation, jax.random.key(seed), *arrays)


def test_off_by_default():
    assert not Augmentation()
    before, after = batch(), augment.augment(Augmentation(), jax.random.key(0), *batch())
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.slow
def test_the_key_alone_decides():
    _, first = changed(EVERYTHING)
    _, again = changed(EVERYTHING)
    _, other = changed(EVERYTHING, seed=1)
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert np.abs(np.asarray(one) - np.asarray(different)).max() > 1e-3


@pytest.mark.parametrize("field", ["gain", "lead_drop", "wander", "noise"])
def test_padding_stays_zero_and_labels_stay(field):
    (signal, demographics, labels), after = changed(Augmentation(**{field: 0.5}))
    np.testing.assert_array_equal(after[0][:, :20], 0)
    assert np.abs(np.asarray(after[0]) - np.asarray(signal, np.float32)).max() > 0.1
    np.testing.assert_array_equal(after[1], demographics)
    np.testing.assert_array_equal(after[2], labels)


def test_gain_is_a_factor_a_lead_and_record():
    (signal, *_), (after, *_) = changed(Augmentation(gain=0.3), size=400)
    factor = np.asarray(after[:, 20:]) / np.asarray(signal[:, 20:], np.float32)
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], factor.shape), rtol=1e-5)
    logarithms = np.log(factor[:, 0])
    assert abs(logarithms.mean()) < 0.03
    assert logarithms.std() == pytest.approx(0.3, rel=0.1)
    assert abs(np.corrcoef(logarithms.T)[0, 1]) < 0.2  # leads are drawn apart


@pytest.mark.parametrize("leads", [1, 3])
def test_dropped_leads(leads):
    (signal, *_), (after, *_) = changed(Augmentation(lead_drop=0.6), size=500, leads=leads)
    silent = np.asarray(jnp.abs(after).max(1)) == 0
    assert not silent.all(1).any(), "a record has no lead left"
    if leads == 1:
        np.testing.assert_array_equal(after, signal)
    else:  # all three would be silent in .6^3 of the records: there one is kept
        assert silent.mean() == pytest.approx(0.6 - 0.6**3 / 3, abs=0.05)
        kept = ~silent[:, None] & np.ones(signal.shape, bool)
        np.testing.assert_array_equal(np.asarray(after)[kept], np.asarray(signal, np.float32)[kept])


def test_wander_is_slow_and_bounded():
    wave = np.asarray(augment.baseline_wander(jax.random.key(0), (50, 5000, 2), 0.4, RATE))
    assert 0.35 < np.abs(wave).max() <= 0.4
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(5000)[:, None], axis=1)).mean((0, 2))
    peaks = np.fft.rfftfreq(5000, 1 / RATE)
    assert spectrum[peaks > 0.75].max() < 0.01 * spectrum.max()


def test_noise_has_a_level_a_record():
    noise = np.asarray(augment.white_noise(jax.random.key(0), (300, 2000, 2), 0.5))
    levels = noise.std((1, 2))
    assert levels.max() < 0.52
    assert levels.mean() == pytest.approx(0.25, abs=0.03)
    assert abs(noise.mean()) < 0.01


def test_shift_moves_whole_records():
    (signal, *_), (after, *_) = changed(Augmentation(shift=9), size=64)
    signal, after, moves = np.asarray(signal, np.float32), np.asarray(after), set()
    for before, now in zip(signal, after, strict=True):
        padded = np.pad(before, ((9, 9), (0, 0)))
        matches = [move for move in range(19) if np.array_equal(padded[move : move + 200], now)]
        assert len(matches) == 1
        moves.add(matches[0])
    assert len(moves) > 10
    assert max(moves) - min(moves) > 12


@pytest.mark.slow
def test_mixtures_are_the_same_in_every_array():
    arrays = batch(size=32)
    mixed = augment.mix(jax.random.key(3), 0.4, arrays)
    shares = []
    for record in range(32):
        found = None
        for partner in set(range(32)) - {record}:
            own, other = (np.asarray(arrays[1][row]) for row in (record, partner))
            share = float(np.median((np.asarray(mixed[1][record]) - other) / (own - other)))
            if np.allclose(share * own + (1 - share) * other, mixed[1][record], atol=1e-4):
                found = partner, share
        assert found, "demographics are no mixture of two records"
        partner, share = found
        shares.append(share)
        for array, after in ((arrays[0], mixed[0]), (arrays[2], mixed[2])):
            own, other = (np.asarray(array[row], np.float32) for row in (record, partner))
            np.testing.assert_allclose(after[record], share * own + (1 - share) * other, atol=3e-3)
    assert min(shares) < 0.1
    assert max(shares) > 0.9


@pytest.mark.parametrize(
    ("field", "value"), [("mixup", -0.1), ("lead_drop", 1.0), ("noise", float("inf")), ("shift", -1)]
)
def test_refuses(field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        Augmentation(**{field: value})
