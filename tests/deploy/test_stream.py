"""Signals prepared in integers: near what the floating-point path does, and in C the same bits, sample by sample."""

import shutil
import subprocess

import numpy as np
import pytest

from lrhnet_jax.deploy.c import stream_source
from lrhnet_jax.deploy.int8 import prepare
from lrhnet_jax.ecg import preprocess as floats
from lrhnet_jax.ecg.preprocess import OPTIONS, PAPER, REFERENCE, Preprocess
from lrhnet_jax.errors import ConfigError

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to compile what is written")

MONITOR, AF = OPTIONS["monitor"], Preprocess(rate=300.0)
WINDOW = 512

# A network that answers a window with the window itself.
MODEL = f"""
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define MODEL_WINDOW {WINDOW}
#define MODEL_LEADS 2
#define MODEL_CLASSES (MODEL_WINDOW * MODEL_LEADS)
#define MODEL_SIGNAL_ONE 1024
static int16_t *model_input(void)
{{
    static int16_t window[MODEL_WINDOW * MODEL_LEADS];
    return window;
}}
static int model_run(const int16_t *signal, size_t rows, const int16_t *person, int16_t *logits)
{{
    memcpy(logits, signal, rows * MODEL_LEADS * sizeof *logits);
    return person ? 0 : -1;
}}
"""

MAIN = """
#include "ecg_stream.c"
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **arguments)
{
    static ecg_stream stream;
    int16_t person[5] = {0}, window[MODEL_CLASSES];
    int32_t sample[MODEL_LEADS];
    int code = ecg_start(&stream, atoi(arguments[1]));
    if (code < 0 || count != 2)
        return 1;
    while (fread(sample, sizeof *sample, MODEL_LEADS, stdin) == MODEL_LEADS) {
        code = ecg_push(&stream, sample);
        if (code < 0)
            return 2;
        if (code == ECG_WINDOW) {
            if (ecg_push(&stream, sample) != ECG_NOT_ANSWERED || ecg_finish(&stream) != ECG_NOT_ANSWERED)
                return 3;
            ecg_answer(&stream, person, window);
            fwrite(window, sizeof window, 1, stdout);
        }
    }
    while ((code = ecg_finish(&stream)) == ECG_WINDOW) {
        ecg_answer(&stream, person, window);
        fwrite(window, sizeof window, 1, stdout);
    }
    return code != ECG_MORE || ecg_push(&stream, sample) != ECG_FINISHED || ecg_finish(&stream) != ECG_MORE ||
           ecg_answer(&stream, person, window) != ECG_NO_WINDOW || ecg_push(&stream, NULL) != ECG_NULL_POINTER ||
           ecg_push(NULL, sample) != ECG_NULL_POINTER || ecg_start(NULL, 360) != ECG_NULL_POINTER ||
           ecg_finish(NULL) != ECG_NULL_POINTER || ecg_answer(NULL, person, window) != ECG_NULL_POINTER ||
           ecg_answer(&stream, NULL, window) != ECG_NULL_POINTER ||
           ecg_answer(&stream, person, NULL) != ECG_NULL_POINTER || ecg_start(&stream, 123) != ECG_UNKNOWN_RATE ||
           ecg_push(&stream, sample) != ECG_NOT_STARTED || ecg_finish(&stream) != ECG_NOT_STARTED;
}
"""


def beats(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Two leads of made-up heartbeats that wander, in microvolts, far from zero."""
    rng = np.random.default_rng(seed)
    time = np.arange(0, seconds, 1 / rate)
    trace = np.zeros(len(time))
    for beat in np.arange(0.3, seconds, 0.83) + rng.normal(0, 0.05, len(np.arange(0.3, seconds, 0.83))):
        for height, width, delay in ((1.1, 0.012, 0.0), (-0.2, 0.01, 0.03), (0.25, 0.06, 0.25), (0.12, 0.03, -0.16)):
            trace += height * np.exp(-0.5 * np.square((time - beat - delay) / width))
    wander = 0.3 * np.sin(2 * np.pi * 0.2 * time)
    signal = np.stack([trace + wander, -0.6 * trace + wander], 1) + rng.normal(0, 0.02, (len(time), 2))
    return np.rint(1000 * signal + [5000, -123456]).astype(np.int32)


@pytest.mark.parametrize("options", [PAPER, MONITOR, AF], ids=["257 Hz", "monitor", "300 Hz"])
@pytest.mark.parametrize("rate", [*prepare.RATES, "own"])
def test_windows_are_near_the_floating_point_path(options, rate):
    rate = round(options.rate) if rate == "own" else rate
    counts = beats(rate, 12)
    resampled = prepare.resample(counts, prepare.resampler(rate, round(options.rate)))
    signal = floats.resample(counts.astype(np.float32) / 1000, rate, options)
    assert len(resampled) == len(signal)
    for begin in (0, 700):
        window = slice(begin, begin + 2048)
        expected = floats.zscore(floats.bandpass(signal[window], options))
        found = prepare.prepare(resampled[window], options) / 1024
        assert np.sqrt(np.square(found - expected).mean()) < 0.005
        assert np.abs(found - expected).max() < 0.03


@pytest.mark.parametrize("rate", [*prepare.RATES, 257])
def test_a_constant_stays_one_and_is_flat(rate):
    how = prepare.resampler(rate, 257)
    counts = np.zeros((4 * rate, 2), np.int32)
    counts[rate:] = 20_001, -7
    resampled = prepare.resample(counts, how)
    np.testing.assert_array_equal(resampled[2 * 257 :] - [20_001, -7], 0)
    for options in (PAPER, MONITOR):
        np.testing.assert_array_equal(prepare.prepare(resampled[2 * 257 :], options), 0)
    whole = np.concatenate([how.taps, how.taps[-2::-1]])
    assert {whole[phase :: how.up].sum() for phase in range(how.up)} == {1 << 14}


def test_extreme_counts_saturate():
    rng = np.random.default_rng(0)
    counts = rng.choice(np.array([-(2**23), 2**23 - 1]), (3000, 2)).astype(np.int32)
    for options in (PAPER, MONITOR):
        prepared = prepare.prepare(prepare.resample(counts, prepare.resampler(500, 257)), options)
        assert np.abs(prepared).max() < 20 * 1024


@needs_gcc
@pytest.mark.parametrize("options", [PAPER, MONITOR, AF], ids=["257 Hz", "monitor", "300 Hz"])
def test_c_gives_the_same_bits_sample_by_sample(options, tmp_path):
    for name, source in stream_source.stream_source(options, 2).items():
        (tmp_path / name).write_text(source)
    (tmp_path / "model.h").write_text(MODEL)
    (tmp_path / "main.c").write_text(MAIN)
    sanitizers = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", *sanitizers, "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    target = round(options.rate)
    for rate in sorted({target, *prepare.RATES}):
        for seconds in (0.01, 1.3, 4.7):
            counts = beats(rate, seconds)
            counts[len(counts) // 2 :, 1] = 77  # a lead that falls off
            done = subprocess.run([tmp_path / "main", str(rate)], input=counts.tobytes(), capture_output=True)
            assert done.returncode == 0, done.stderr
            found = np.frombuffer(done.stdout, np.int16).reshape(-1, WINDOW, 2)
            resampled = prepare.resample(counts, prepare.resampler(rate, target))
            windows = [resampled[begin : begin + WINDOW] for begin in range(0, len(resampled), WINDOW)]
            expected = [prepare.place(prepare.prepare(window, options), WINDOW) for window in windows]
            np.testing.assert_array_equal(found, np.stack(expected))


def test_what_c_cannot_prepare_is_refused():
    for options, message in [
        (REFERENCE, "resample='interp': C resamples by polyphase filters only"),
        (OPTIONS["bandpass"], "bandpass='butterworth_47hz_257': C has the filter 'monitor' or none"),
        (Preprocess(rate=128.5), "a rate of 128.5 Hz: C needs a whole number"),
    ]:
        with pytest.raises(ConfigError, match=message):
            prepare.check(options)
    for options in (PAPER, MONITOR, AF, OPTIONS["100hz"]):
        prepare.check(options)
