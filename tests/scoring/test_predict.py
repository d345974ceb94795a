import jax
import numpy as np
import pytest

from lrhnet_jax.data.store import make_store
from lrhnet_jax.data.windows import covering_windows
from lrhnet_jax.runtime.devices import make_parallel, one_device
from lrhnet_jax.scoring import predict
from lrhnet_jax.training.state import init_variables
from tests.helpers import fakes

WINDOW = 64
STORE = make_store(fakes.records(40), WINDOW)


@pytest.fixture(scope="module")
def network():
    lead_network = fakes.lead_network()
    return lead_network, init_variables(lead_network.model, jax.random.key(0), 2, WINDOW)


@pytest.fixture
def sizes(monkeypatch):
    """How many windows the network was given at a time."""
    found = []
    run = predict._window_logits

    def spy(variables, store, index, *rest, **options):
        found.append(len(index))
        return run(variables, store, index, *rest, **options)

    monkeypatch.setattr(predict, "_window_logits", spy)
    return found


def logits(network, count, batch_size, parallel=None):
    rows = np.arange(count, dtype=np.int32)
    store = parallel.replicate(STORE) if parallel else STORE
    predictor = predict.Predictor(*network, WINDOW, batch_size, parallel=parallel or one_device())
    return predictor.logits(store, rows, 0 * rows)


def test_a_cpu_is_given_few_windows_at_a_time_and_each_answer_is_its_windows_own(network, sizes):
    found = logits(network, 40, 64)
    assert sizes == [16, 16, 16]
    np.testing.assert_allclose(found, logits(network, 40, 5), atol=1e-5)
    assert sizes[3:] == [5] * 8
    assert np.ptp(found, axis=0).min() > 1e-3


@pytest.mark.slow
def test_each_of_several_cpus_is_given_as_many(network, sizes):
    found = logits(network, 40, 64, make_parallel("jit", 4))
    assert sizes == [40]
    np.testing.assert_allclose(found, logits(network, 40, 64), atol=1e-5)
    logits(network, 40, 6, make_parallel("jit", 4))
    assert sizes[4:] == [8] * 5


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_records_probabilities_are_the_mean_over_its_windows(network, exclusive):
    records, lengths = np.array([3, 7]), np.array([2 * WINDOW, WINDOW // 2])
    predictor = predict.Predictor(*network, WINDOW, 8, exclusive)
    found = predictor.probabilities(STORE, records, lengths)
    rows, shift = covering_windows(lengths, WINDOW)
    index = records[rows].astype(np.int32)
    each = predict.to_probabilities(predictor.logits(STORE, index, shift), exclusive)
    assert (rows == 0).sum() > 1 and (rows == 1).sum() == 1
    np.testing.assert_allclose(found[0], each[rows == 0].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found[1], each[rows == 1][0], rtol=1e-6)
    assert (np.abs(found.sum(1) - 1) < 1e-6).all() == exclusive
