import numpy as np
import pytest
import scipy.signal

from lrhnet_jax.ecg import preprocess as preprocessing

RNG = np.random.default_rng(0)


def _sine(rate, seconds=8.0, frequency=7.0):
    time = np.arange(round(rate * seconds)) / rate
    return np.sin(2 * np.pi * frequency * time + 0.3)[:, None].astype(np.float32)


@pytest.mark.parametrize("rate", [100, 250, 257, 300, 360, 360.5, 499.98, 500, 1000])
def test_polyphase_keeps_what_is_below_both_nyquist_frequencies(rate):
    result = preprocessing.resample(_sine(rate), rate)[:, 0]
    assert abs(len(result) - 8 * 257) <= 1
    expected = np.sin(2 * np.pi * 7 * np.arange(len(result)) / 257 + 0.3)
    np.testing.assert_allclose(result[60:-60], expected[60:-60], atol=3e-3)


def test_polyphase_equals_scipy_and_takes_no_alias():
    signal = RNG.normal(size=(5000, 3)).astype(np.float32)
    signal -= signal.mean(0)
    expected = scipy.signal.resample_poly(signal.astype(float), 257, 500, axis=0, padtype="line")
    np.testing.assert_allclose(preprocessing.resample(signal, 500.0), expected, atol=1e-4)
    high = _sine(500, frequency=170.0)  # above 128.5 Hz: interpolation folds it back to 87 Hz
    assert preprocessing.resample(high, 500.0)[60:-60].std() < 0.01
    assert preprocessing.resample(high, 500.0, preprocessing.REFERENCE)[60:-60].std() > 0.2


def test_offset_of_a_lead_makes_no_ripple():
    result = preprocessing.resample(np.full((2000, 1), 300, np.float32), 500.0)
    np.testing.assert_allclose(result, 300, rtol=1e-6)


def test_interpolation_of_the_reference():
    """Both time axes reach from 0 to the record's end, a sample beyond the last: equation worked by hand."""
    ramp = np.arange(500, dtype=np.float32)[:, None]
    result = preprocessing.resample(ramp, 500.0, preprocessing.REFERENCE)
    assert result.shape == (257, 1)
    np.testing.assert_allclose(result[:, 0], np.arange(257) * (1 / 256) * 499, rtol=1e-6)


def test_zscore():
    signal = RNG.normal(5, 3, (700, 4)).astype(np.float32)
    signal[:, 2] = 0.1
    result = preprocessing.zscore(signal)
    np.testing.assert_allclose(result.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(result.std(0), [1, 1, 0, 1], rtol=1e-5)


@pytest.mark.parametrize("name", preprocessing.OPTIONS)
@pytest.mark.parametrize("rate", [257.0, 500.0])
def test_preprocess(name, rate):
    signal = np.cumsum(RNG.normal(size=(int(9 * rate), 12)), 0).astype(np.float32)
    signal[:, 5] = -0.7  # flat leads are zeros, not NaN and not amplified rounding errors
    before = signal.copy()
    result = preprocessing.preprocess(signal, rate, preprocessing.OPTIONS[name])
    assert result.dtype == np.float16
    assert result.shape == (9 * preprocessing.OPTIONS[name].rate, 12)
    assert not result[:, 5].any()
    others = np.delete(result, 5, axis=1).astype(np.float32)
    np.testing.assert_allclose(others.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(others.std(0), 1, rtol=1e-3)
    np.testing.assert_array_equal(signal, before)


def test_bandpass_of_the_reference_is_its_formula():
    signal = np.cumsum(RNG.normal(size=(2570, 2)), 0).astype(np.float32)
    b, a = scipy.signal.butter(3, [0.001 / 250, 47 / 250], btype="bandpass")
    expected = scipy.signal.filtfilt(b, a, signal.astype(float), axis=0)
    np.testing.assert_allclose(preprocessing.bandpass(signal, preprocessing.REFERENCE), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "low", "high"), [("bandpass", 0.8, 0.9), ("reference", 0.0, 0.1), ("paper", 1, 1.01)])
def test_where_the_bands_end(name, low, high):
    """The reference's 47 Hz come to lie at 24 Hz; the band-pass for the right rate lets 35 Hz through."""
    result = preprocessing.bandpass(_sine(257, frequency=35.0), preprocessing.OPTIONS[name])[:, 0]
    time = np.arange(len(result)) / 257
    amplitude = 2 * np.abs(np.mean((result - result.mean()) * np.exp(-2j * np.pi * 35 * time)))
    assert low - 1e-3 <= amplitude <= high


def test_monitor_is_the_fourth_order_band_pass_whatever_the_rate():
    """A record that was filtered at 500 Hz and then resampled is like one that is resampled and then filtered."""
    signal = np.cumsum(RNG.normal(size=(5000, 2)), 0).astype(np.float32)
    b, a = scipy.signal.butter(4, [0.5, 40], btype="bandpass", fs=500)
    published = scipy.signal.filtfilt(b, a, signal.astype(float), axis=0).astype(np.float32)
    expected = preprocessing.resample(published, 500.0)
    resampled = preprocessing.resample(signal, 500.0)
    ours = preprocessing.bandpass(resampled, preprocessing.OPTIONS["monitor"])
    middle = slice(257, -257)
    assert np.abs(ours - expected)[middle].max() < 0.05 * expected.std()
    assert np.sqrt(np.mean((ours - expected) ** 2)) < 0.05 * expected.std()
    assert np.abs(resampled - expected).max() > expected.std()


def test_half_an_hour_stays_finite():
    signal = np.cumsum(RNG.normal(size=(257 * 1800, 2)), 0).astype(np.float32)
    result = preprocessing.preprocess(signal, 257.0, preprocessing.OPTIONS["bandpass"]).astype(np.float32)
    np.testing.assert_allclose(result.std(0), 1, rtol=1e-2)
    assert np.isfinite(preprocessing.preprocess(signal, 257.0, preprocessing.REFERENCE)).all()


@pytest.mark.parametrize(("field", "value"), [("resample", "fft"), ("bandpass", "notch")])
def test_unknown_options_list_the_known_ones(field, value):
    with pytest.raises(ValueError, match=f"unknown {field} '{value}'; choose"):
        preprocessing.Preprocess(**{field: value})
