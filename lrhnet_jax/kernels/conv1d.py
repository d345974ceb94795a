"""Convolution over time, fast on CPUs too.

XLA's CPU backend has a fast library for convolutions of images, which takes none over time and no layer of few outputs.
Where nothing is differentiated, a convolution is therefore that of an image of one row, and the outputs of several
samples are computed as the channels of one. In training that does not pay: what lies around the convolutions then costs
more than they gain.

XLA's plain convolutions and matrix products run near the machine's peak. What differentiation makes of them does not:
the input gradient of a strided convolution has a dilated input, for which it has only slow code; and the filter
gradient reads both operands transposed, into which it fuses, and so repeats against the grain of memory, all
elementwise work that made them. On CPUs the first is therefore written as a plain convolution, and the operands of the
second are kept from fusion. Elsewhere the gradients are XLA's own.

On NVIDIA GPUs layers of few channels have kernels of ours (`pallas_conv1d`), in programs that say where they run
(`laid_out`); others stay portable. Programs for converters that know XLA's plain operations only have `plain` ones.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from lrhnet_jax.kernels import pallas_conv1d

LINE = ("NWC", "WIO", "NWC")
IMAGE = ("NHWC", "HWIO", "NHWC")
WIDE = 32  # outputs, in a layer that XLA's fast library for CPUs takes


Value = TypeVar("Value")
Form = Callable[[jax.Array, jax.Array, int, tuple[int, int]], jax.Array]
_layout: contextvars.ContextVar[pallas_conv1d.Layout | None] = contextvars.ContextVar("layout", default=None)
_plain_only: contextvars.ContextVar[bool] = contextvars.ContextVar("plain_only", default=False)


@contextlib.contextmanager
def _set(variable: contextvars.ContextVar[Value], value: Value) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def laid_out(layout: pallas_conv1d.Layout | None) -> contextlib.AbstractContextManager[None]:
    """While a program is traced: it will run where `layout` says, and may use the GPU kernels; None: it may not."""
    return _set(_layout, layout)


def plain() -> contextlib.AbstractContextManager[None]:
    """While a program is traced: a convolution is one plain operation, with XLA's gradients, on every platform."""
    return _set(_plain_only, True)


def is_plain() -> bool:
    """Whether a program is being traced for a converter; see `plain`."""
    return _plain_only.get()


def conv1d(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> jax.Array:
    """Cross-correlation over time, as torch.nn.Conv1d computes it. Differentiable once, in reverse mode.

    Args:
      x: (batch, time, in).
      kernel: (taps, in, out).
      stride: samples from one output to the next.
      padding: zeros before and after the signal.

    Returns:
      (batch, (time + padding - taps) // stride + 1, out).
    """
    if _plain_only.get():
        return _plain(x, kernel, stride, padding)
    # Under shard_map the gradient of a replicated operand is a sum over devices, which this conversion's own adds.
    x_axes, kernel_axes = _varying_axes(x), _varying_axes(kernel)
    if kernel_axes - x_axes:
        x = lax.pcast(x, tuple(kernel_axes - x_axes), to="varying")
    if x_axes - kernel_axes:
        kernel = lax.pcast(kernel, tuple(x_axes - kernel_axes), to="varying")
    layout = _layout.get()
    if layout and (x_axes or not pallas_conv1d.suit(x, kernel, layout)):
        layout = None
    return _conv1d(x, kernel, stride, padding, layout)


def _varying_axes(x: jax.Array) -> frozenset[str]:
    """The manual mesh axes along which x differs; JAX renamed the attribute between 0.10 and 0.12."""
    aval = jax.typeof(x)
    return aval.manual_axis_type.varying if hasattr(aval, "manual_axis_type") else aval.vma


def _plain(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (stride,), (padding,), dimension_numbers=LINE)


def _image(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """`_plain`, as the convolution of images of one row."""
    x, kernel = x[:, None], kernel[None]
    return lax.conv_general_dilated(x, kernel, (1, stride), ((0, 0), padding), dimension_numbers=IMAGE)[:, 0]


def _grouped(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """`_image`; where outputs are few, with several samples of them at once, as the channels of a longer stride.

    Costs (taps + (group - 1) * stride) / taps as many multiplications.
    """
    (taps, _, outputs), (batch, time, _) = kernel.shape, x.shape
    group = WIDE // outputs
    if group < 2 or taps == 1:
        return _image(x, kernel, stride, padding)
    steps = (time + sum(padding) - taps) // stride + 1
    groups, width = -(-steps // group), taps + (group - 1) * stride
    kernel = pallas_conv1d.expand(kernel, group, stride)
    after = (groups - 1) * group * stride + width - time - padding[0]
    y = _image(x, kernel, group * stride, (padding[0], after))
    # In two steps, which keep the axis of records as it is, and so do with one that is sharded.
    return y.reshape(batch, groups, group, outputs).reshape(batch, groups * group, outputs)[:, :steps]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv1d(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int], layout: pallas_conv1d.Layout | None
) -> jax.Array:
    grouped = functools.partial(_grouped, stride=stride, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=grouped, **_elsewhere(stride, padding, layout))


def _elsewhere(
    stride: int, padding: tuple[int, int], layout: pallas_conv1d.Layout | None
) -> dict[str, Callable[..., jax.Array]]:
    """The forms for other platforms than CPUs."""
    forms: dict[str, Callable[..., jax.Array]] = {"default": functools.partial(_plain, stride=stride, padding=padding)}
    if layout:
        forms["cuda"] = functools.partial(pallas_conv1d.conv1d, stride=stride, padding=padding, layout=layout)
    return forms


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int], layout: pallas_conv1d.Layout | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x = _unfused(x)
    return lax.platform_dependent(x, kernel, **_elsewhere(stride, padding, layout)), (x, kernel)


def _backward(
    stride: int,
    padding: tuple[int, int],
    layout: pallas_conv1d.Layout | None,
    saved: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    gradient = _unfused(gradient)

    def gradient_of(form: Form, place: int) -> Callable[..., jax.Array]:
        def run(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
            def of(operand: jax.Array) -> jax.Array:
                return form(*(operand, kernel) if place == 0 else (x, operand), stride, padding)

            return jax.vjp(of, (x, kernel)[place])[1](gradient)[0]

        return run

    def phases(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        return _input_gradient(gradient, kernel, x.shape[1], stride, padding[0], _plain)

    def kernel_x(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        assert layout
        run = functools.partial(pallas_conv1d.conv1d, layout=layout)
        return _input_gradient(gradient, kernel, x.shape[1], stride, padding[0], run)

    def kernel_kernel(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> jax.Array:
        assert layout
        of_kernel = pallas_conv1d.filter_gradient(x, gradient, len(kernel), stride, padding, layout)
        return of_kernel.astype(kernel.dtype)

    x_forms, kernel_forms = {"default": gradient_of(_plain, 0)}, {"default": gradient_of(_plain, 1)}
    if stride > 1:
        x_forms["cpu"] = phases
    if layout:
        kernel_forms["cuda"] = kernel_kernel
        if pallas_conv1d.suit(gradient, _phase_kernel(kernel, stride), layout):
            x_forms["cuda"] = kernel_x
    operands = (x, kernel, gradient)
    return lax.platform_dependent(*operands, **x_forms), lax.platform_dependent(*operands, **kernel_forms)


_conv1d.defvjp(_forward, _backward)


def _unfused(x: jax.Array) -> jax.Array:
    """x itself, but on CPUs as an array of its own: XLA does not repeat operations of two large operands in each use.

    An optimisation barrier would say it better, but XLA's CPU backend drops those before it fuses.
    """

    def select(x: jax.Array) -> jax.Array:
        return jnp.where(x == x, x, jnp.nan)

    return lax.platform_dependent(x, cpu=select, default=lambda x: x)


def _input_gradient(
    gradient: jax.Array, kernel: jax.Array, time: int, stride: int, before: int, conv: Callable[..., jax.Array]
) -> jax.Array:
    """The gradient by x of a convolution, as a convolution without stride, by `conv`, of the output's gradient.

    Padded sample stride * m + phase met output m - q by tap stride * q + phase. So each phase is a convolution over m,
    and all of them are one, with a channel per phase and input.
    """
    inputs = kernel.shape[1]
    kernel = _phase_kernel(kernel, stride)
    reach = len(kernel)
    first, last = before // stride, (before + time - 1) // stride
    x = conv(gradient, kernel, stride=1, padding=(reach - 1 - first, last - (gradient.shape[1] - 1)))
    x = x.reshape(*x.shape[:2], stride, inputs).reshape(x.shape[0], x.shape[1] * stride, inputs)
    return x[:, before - first * stride :][:, :time]


def _phase_kernel(kernel: jax.Array, stride: int) -> jax.Array:
    """The kernel of `_input_gradient`'s convolution, (taps / stride, out, stride * in)."""
    taps, inputs, outputs = kernel.shape
    reach = -(-taps // stride)
    kernel = jnp.pad(kernel, ((0, reach * stride - taps), (0, 0), (0, 0))).reshape(reach, stride, inputs, outputs)
    return kernel[::-1].transpose(0, 3, 1, 2).reshape(reach, outputs, stride * inputs)
