"""The layers that the networks are made of: PyTorch's arithmetic and initial distributions in Flax linen.

Signals are (batch, time, channels). Parameters and BatchNorm statistics are kept in `param_dtype`; convolutions and
what lies between them are computed in `dtype`. Padding is explicit: XLA's "SAME" differs from PyTorch where strided.
"""

import functools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.errors import ConfigError
from lrhnet_jax.kernels.conv1d import conv1d
from lrhnet_jax.models import pooling
from lrhnet_jax.models.description import Description

Dtype = Any


class Output(NamedTuple):
    """What a network returns.

    Attributes:
      logits: (batch, classes), in `param_dtype`.
      features: by name, from the stem to the pooled vector: (batch, time, channels), but "pooled" (batch, channels).
        The outputs of the stages are called layer1, layer2 and so on: SemCKD takes these, FitNet's hints any by name.
        An OrderedDict, whose order survives jit.
    """

    logits: jax.Array
    features: OrderedDict[str, jax.Array]


class Layer(nn.Module, kw_only=True):
    """What blocks and networks are given beside their sizes, by keyword.

    Attributes:
      axis_name: the pmap axis over which BatchNorm takes its statistics.
      dtype: of the computation.
      param_dtype: of parameters, statistics and logits.
    """

    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @property
    def dtypes(self) -> dict[str, Any]:
        """The arguments of a Conv1D."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    @property
    def norm(self) -> dict[str, Any]:
        """The arguments of a BatchNorm, and of a block inside this one."""
        return {"axis_name": self.axis_name, **self.dtypes}


class Network(Layer, kw_only=True):
    """A network: (signal, demographics, train) -> Output.

    Attributes:
      description: what others have to know of it, beside its call and its options.
      num_classes: outputs.
    """

    description: ClassVar[Description] = Description()

    num_classes: int = 24


def inner_widths(given: Sequence[int], default: Sequence[int]) -> tuple[int, ...]:
    """Returns a network's `inner` option: widths inside its blocks, where channels were pruned; () is the default.

    Raises:
      ConfigError: for another number of widths than the network has, or a width below one.
    """
    if not given:
        return tuple(default)
    if len(given) != len(default) or min(given) < 1:
        raise ConfigError(f"inner: the network needs {len(default)} widths of at least 1, not {list(given)}")
    return tuple(given)


def initialize(module: nn.Module, key: jax.Array, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Returns fresh variables of a module for a call with these arguments; `options` are static."""
    return dict(_initializer(module, tuple(options.items()))(key, *arguments))


@functools.lru_cache(maxsize=8)  # networks that differ in their seed are often initialised in turn
def _initializer(module: nn.Module, options: tuple[tuple[str, Any], ...]) -> Any:
    # Compiled, the forward pass that initialises by running falls away. What is left runs once, but to optimise a
    # generator of random numbers for every parameter takes a CPU five to twenty seconds: it is not worth it.
    once = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(functools.partial(module.init, **dict(options)), compiler_options=once)


def uniform_init(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's default for weights and biases: uniform on +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def kaiming_fan_out_init(fan_out: int) -> nn.initializers.Initializer:
    """Kaiming's normal distribution for ReLU networks, in fan-out mode: N(0, 2/fan_out)."""
    return nn.initializers.normal((2.0 / fan_out) ** 0.5)


class Conv1D(nn.Module):
    """Convolution over time; torch.nn.Conv1d with `padding` zeros before and after.

    Attributes:
      weight_init: "torch" (PyTorch's default), "kaiming" (fan-out normal) or "he_normal" (Keras': fan-in normal, cut
        off at two standard deviations, with biases of zero).
    """

    features: int
    taps: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    use_bias: bool = False
    weight_init: str = "torch"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        torch_init = uniform_init(self.taps * channels)
        kernel_init, bias_init = {
            "torch": (torch_init, torch_init),
            "kaiming": (kaiming_fan_out_init(self.taps * self.features), torch_init),
            "he_normal": (nn.initializers.he_normal(), nn.initializers.zeros),
        }[self.weight_init]
        kernel = self.param("kernel", kernel_init, (self.taps, channels, self.features), self.param_dtype)
        x = conv1d(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, padding=self.padding)
        if self.use_bias:
            bias = self.param("bias", bias_init, (self.features,), self.param_dtype)
            x = x + bias.astype(self.dtype)[None, None, :]
        return x


class Dense(nn.Module):
    """torch.nn.Linear on (batch, channels), computed in `param_dtype`: it is cheap, and the logits need it."""

    features: int
    use_bias: bool = True
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = uniform_init(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features), self.param_dtype)
        x = x.astype(self.param_dtype) @ kernel
        if self.use_bias:
            x = x + self.param("bias", init, (self.features,), self.param_dtype)[None, :]
        return x


class BatchNorm(nn.Module):
    """torch.nn.BatchNorm1d: eps 1e-5, momentum .1, and a running variance that is the *unbiased* one.

    Statistics are over batch and time, in `param_dtype`; with `axis_name` over all devices of that pmap axis too. Under
    jit over a mesh they are global by themselves.

    Where the convolution before it has taken the rest (`fold_batchnorm.fold`), all that is left is a parameter `shift`.

    Attributes:
      initial_scale: 0 in the last one of a residual branch lets training begin with the shortcuts alone.
    """

    epsilon: float = 1e-5
    momentum: float = 0.1
    initial_scale: float = 1.0
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        if self.has_variable("params", "shift"):
            if train:
                raise ConfigError("a folded BatchNorm has no statistics to train: take the variables before folding")
            shift = self.param("shift", nn.initializers.zeros, (channels,), self.param_dtype)
            return (x.astype(self.param_dtype) + shift[None, None, :]).astype(self.dtype)
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), self.param_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), self.param_dtype)

        x = x.astype(self.param_dtype)
        if not train:
            scale = scale * lax.rsqrt(running_var.value + self.epsilon)
            bias = bias - running_mean.value * scale
            return (x * scale[None, None, :] + bias[None, None, :]).astype(self.dtype)

        # One pass over x for both moments. About a point inside the data they do not cancel. Every point gives the same
        # result, so that no gradient flows through it, and eight samples a record are enough to find one.
        pivot = lax.stop_gradient(x[:, :: max(1, x.shape[1] // 8)].mean((0, 1)))
        x = x - pivot[None, None, :]
        mean = x.mean((0, 1))
        var = jnp.square(x).mean((0, 1)) - jnp.square(mean)
        count = x.shape[0] * x.shape[1]
        if self.axis_name is not None and not self.is_initializing():
            count *= lax.axis_size(self.axis_name)
            global_mean = lax.pmean(mean + pivot, self.axis_name) - pivot
            var = lax.pmean(var + jnp.square(mean - global_mean), self.axis_name)
            mean = global_mean
        if count < 2:
            raise ConfigError("BatchNorm needs more than one value per channel to train: use a larger batch or window")
        var = jnp.maximum(var, 0)  # rounding may leave a constant channel just below zero

        if not self.is_initializing():
            keep = 1 - self.momentum
            running_mean.value = keep * running_mean.value + self.momentum * (mean + pivot)
            running_var.value = keep * running_var.value + self.momentum * (count / (count - 1)) * var
        scale = scale * lax.rsqrt(var + self.epsilon)
        bias = bias - mean * scale
        return (x * scale[None, None, :] + bias[None, None, :]).astype(self.dtype)


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate, which two dense layers compute from the means over time (Hu et al. 2018)."""

    reduction: int
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        gate = pooling.mean_over_time(x, self.param_dtype)
        gate = nn.relu(
            Dense(channels // self.reduction, use_bias=False, param_dtype=self.param_dtype, name="fc_0")(gate)
        )
        gate = nn.sigmoid(Dense(channels, use_bias=False, param_dtype=self.param_dtype, name="fc_2")(gate))
        return x * gate.astype(x.dtype)[:, None, :]
