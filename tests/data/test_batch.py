import jax
import jax.numpy as jnp
import numpy as np

from lrhnet_jax.data.batch import epoch_order
from tests.helpers import fakes


def test_every_epoch_has_every_record_once_in_another_order():
    orders = [np.asarray(epoch_order(jax.random.key(0), epoch, 50)) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert not (orders[0] == orders[1]).all() and not (orders[1] == orders[2]).all()
    np.testing.assert_array_equal(orders[1], epoch_order(jax.random.key(0), 1, 50))
    np.testing.assert_array_equal(orders[1][:32], epoch_order(jax.random.key(0), 1, 50, 32))


def test_a_network_sees_its_own_leads_in_order():
    signal = jnp.broadcast_to(jnp.arange(12, dtype=jnp.float16), (2, 5, 12))
    read = fakes.lead_network(columns=(7, 0)).read(signal)
    assert read.shape == (2, 5, 2) and read.dtype == jnp.float32
    np.testing.assert_array_equal(read[0, 0], [7, 0])
