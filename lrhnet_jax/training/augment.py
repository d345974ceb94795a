"""What training does to a batch's windows before any network reads them, so that teachers and student see the same.

Pure functions, keys in, arrays out, on the device. A window is (time, leads) in standard deviations of its leads; the
zeros that pad a short record stay zeros. Everything is off by default.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from lrhnet_jax.ecg.leads import SAMPLE_RATE

WANDER_HZ = (0.05, 0.5)  # where breathing and electrodes move the baseline


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How windows are changed at random, each record by draws of its own. A zero switches a change off.

    Attributes:
      mixup: the parameter a of Beta(a, a), from which the share of a record in its mixture with another of the batch
        is drawn; signals, demographics and labels are mixed alike (Zhang et al. 2018, arXiv:1710.09412).
      gain: standard deviation of the logarithm of a factor a lead.
      lead_drop: probability that a lead is silent; a record keeps one at least.
      wander: largest amplitude of a slow sine a lead, one frequency and phase a record.
      noise: largest standard deviation of white noise; a record's own is drawn from zero to this.
      shift: most samples by which a window is moved in time, either way; zeros take the place of what has left.
      rate: Hz, of the signals; not a change.
    """

    mixup: float = 0.0
    gain: float = 0.0
    lead_drop: float = 0.0
    wander: float = 0.0
    noise: float = 0.0
    shift: int = 0
    rate: float = float(SAMPLE_RATE)

    def __post_init__(self) -> None:
        for field, value in dataclasses.asdict(self).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{field} is {value}: it must be at least 0, and finite")
        if self.lead_drop >= 1:
            raise ValueError(f"lead_drop is {self.lead_drop}: it must be below 1, or no lead is left")

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return any((self.mixup, self.gain, self.lead_drop, self.wander, self.noise, self.shift))


def augment(
    augmentation: Augmentation,
    key: jax.Array,
    signal: jax.Array,
    demographics: jax.Array,
    labels: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns a batch's signal, demographics and labels as training is to see them.

    The order is that of a recording: what electrodes and amplifier do, then where the window lies, then the mixture.

    Args:
      key: of this step.
      signal: (batch, time, leads); demographics: (batch, 5); labels: (batch, classes).
    """
    if not augmentation:
        return signal, demographics, labels
    keys = jax.random.split(key, 6)
    signal = signal.astype(jnp.float32)
    inside = (signal != 0).any(-1, keepdims=True)  # neither wander nor noise tells where a short record ends
    if augmentation.gain:
        signal = scale_leads(keys[0], signal, augmentation.gain)
    if augmentation.wander:
        signal = signal + jnp.where(
            inside, baseline_wander(keys[1], signal.shape, augmentation.wander, augmentation.rate), 0
        )
    if augmentation.noise:
        signal = signal + jnp.where(inside, white_noise(keys[2], signal.shape, augmentation.noise), 0)
    if augmentation.lead_drop:
        signal = drop_leads(keys[3], signal, augmentation.lead_drop)
    if augmentation.shift:
        signal = shift_in_time(keys[4], signal, augmentation.shift)
    if augmentation.mixup:
        signal, demographics, labels = mix(keys[5], augmentation.mixup, (signal, demographics, labels))
    return signal, demographics, labels


def scale_leads(key: jax.Array, signal: jax.Array, deviation: float) -> jax.Array:
    """Multiplies each lead of each record by a factor whose logarithm is normal, with mean 0."""
    batch, _, leads = signal.shape
    return signal * jnp.exp(deviation * jax.random.normal(key, (batch, 1, leads)))


def baseline_wander(key: jax.Array, shape: tuple[int, ...], amplitude: float, rate: float) -> jax.Array:
    """Returns slow sines of the shape (batch, time, leads): a frequency and phase a record, an amplitude a lead."""
    batch, time, leads = shape
    frequency_key, phase_key, amplitude_key = jax.random.split(key, 3)
    low, high = WANDER_HZ
    frequency = jax.random.uniform(frequency_key, (batch, 1, 1), minval=low, maxval=high)
    phase = jax.random.uniform(phase_key, (batch, 1, 1), maxval=2 * jnp.pi)
    amplitudes = jax.random.uniform(amplitude_key, (batch, 1, leads), minval=-amplitude, maxval=amplitude)
    seconds = jnp.arange(time)[None, :, None] / rate
    return amplitudes * jnp.sin(2 * jnp.pi * frequency * seconds + phase)


def white_noise(key: jax.Array, shape: tuple[int, ...], deviation: float) -> jax.Array:
    """Returns normal noise of the shape (batch, time, leads), of a standard deviation a record in [0, `deviation`)."""
    level_key, noise_key = jax.random.split(key)
    level = jax.random.uniform(level_key, (shape[0], 1, 1), maxval=deviation)
    return level * jax.random.normal(noise_key, shape)


def drop_leads(key: jax.Array, signal: jax.Array, probability: float) -> jax.Array:
    """Silences leads of each record at random; of each record the one drawn highest is kept."""
    batch, _, leads = signal.shape
    draws = jax.random.uniform(key, (batch, 1, leads))
    kept = (draws >= probability) | (draws == draws.max(-1, keepdims=True))
    return jnp.where(kept, signal, 0)


def shift_in_time(key: jax.Array, signal: jax.Array, most: int) -> jax.Array:
    """Moves each record by -`most` to `most` samples; zeros come in."""
    batch, time, _ = signal.shape
    padded = jnp.pad(signal, ((0, 0), (most, most), (0, 0)))
    starts = jax.random.randint(key, (batch,), 0, 2 * most + 1)
    return jax.vmap(lambda rows, start: jax.lax.dynamic_slice_in_dim(rows, start, time))(padded, starts)


def mix(key: jax.Array, beta: float, arrays: Any) -> Any:
    """Mixes each record with another of the batch: share * own + (1 - share) * other, the same in every array.

    Args:
      beta: the share is drawn from Beta(beta, beta).
      arrays: a tree of (batch, ...).
    """
    share_key, partner_key = jax.random.split(key)
    batch = len(jax.tree.leaves(arrays)[0])
    share = jax.random.beta(share_key, beta, beta, (batch,))
    # A rotation by a random number of places: everyone's partner is another.
    partner = (jnp.arange(batch) + jax.random.randint(partner_key, (), 1, batch)) % batch

    def mixed(array: jax.Array) -> jax.Array:
        own = share.reshape(-1, *(1,) * (array.ndim - 1))
        return own * array + (1 - own) * array[partner]

    return jax.tree.map(mixed, arrays)
