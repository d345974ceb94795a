"""One training step on many devices, with the numbers of one: jit over a mesh, or pmap.

Both replicate the data and the state, and share out the batch. Under jit the compiler inserts the sums over devices,
and BatchNorm's statistics are global by themselves. pmap runs one program a device, which sums by name (`AXIS`).

With several processes the mesh spans the devices of all of them. Each process then holds copies of data and state on
its own devices, and runs the same program on its part of the batch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrhnet_jax.errors import ConfigError, choose
from lrhnet_jax.kernels import pallas_conv1d
from lrhnet_jax.kernels.conv1d import laid_out

AXIS = "data"
PARALLEL_KINDS = ("jit", "pmap")
ALONE = pallas_conv1d.Layout()
State = TypeVar("State")
Draw = TypeVar("Draw")
Steps = Callable[..., Any]  # (state, inputs, order, signals) -> state; see `training.steps`


@dataclasses.dataclass(frozen=True)
class Parallel:
    """How steps run: `kind` "jit" or "pmap", over `devices`."""

    kind: str
    devices: tuple[Any, ...]

    @property
    def axis_name(self) -> str | None:
        """The axis that BatchNorm and gradients are averaged over by name; None under jit."""
        return AXIS if self.kind == "pmap" else None

    @property
    def local_devices(self) -> tuple[Any, ...]:
        """Those of this process."""
        return tuple(device for device in self.devices if device.process_index == jax.process_index())

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    @property
    def _replicated(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec())

    def check(self, batch_size: int) -> None:
        """Raises ConfigError if a batch cannot be shared out evenly."""
        if batch_size % len(self.devices):
            raise ConfigError(
                f"a batch of {batch_size} cannot be divided among {len(self.devices)} devices; choose a multiple, or "
                "set config.devices"
            )

    def constrain_batch(self, tree: Any) -> Any:
        """Inside jit: lays out arrays over the mesh, by their first axis."""
        return lax.with_sharding_constraint(tree, NamedSharding(self._mesh, PartitionSpec(AXIS)))

    def constrain_replicated(self, tree: Any) -> Any:
        """Inside jit: brings arrays together again, whole on every device."""
        return lax.with_sharding_constraint(tree, self._replicated)

    def shard_draw(self, draw: Draw) -> Draw:
        """Shares out a batch inside the step: this device's part (pmap), or a layout over the mesh (jit).

        Args:
          draw: arrays of the whole batch, (batch, ...) each.
        """
        if self.kind == "jit":
            return self.constrain_batch(draw)
        part = len(jax.tree.leaves(draw)[0]) // len(self.devices)
        start = lax.axis_index(AXIS) * part
        return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, part), draw)

    def replicate(self, tree: Any) -> Any:
        """Returns arrays that every device has a copy of. Every process has to give the same values."""
        if len(self.devices) == 1:
            return jax.device_put(tree, self.devices[0])
        if self._replicated.is_fully_addressable:
            return jax.device_put(tree, self._replicated)

        # By hand: `device_put` to other processes' devices sends all values around to see that they are the same.
        def replicate(leaf: Any) -> jax.Array:
            if isinstance(leaf, jax.Array) and leaf.sharding == self._replicated:
                return leaf
            copies = [jax.device_put(leaf, device) for device in self.local_devices]
            return jax.make_array_from_single_device_arrays(np.shape(leaf), self._replicated, copies)

        return jax.tree.map(replicate, tree)

    def replicate_state(self, state: State) -> State:
        """Returns the state as the compiled steps take it: under pmap with a leading axis of devices."""
        if self.kind == "jit":
            return self.replicate(state)
        copies = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(self.devices), *leaf.shape)), state)
        return jax.device_put(copies, NamedSharding(self._mesh, PartitionSpec(AXIS)))

    def unreplicate(self, state: State) -> State:
        """Returns the one state that `replicate_state` was given, on this process' first device."""
        if self.kind == "jit":
            return jax.tree.map(lambda leaf: leaf.addressable_data(0), state)
        # Of the first device's own part: `leaf[0]` would be a program of all devices for each leaf, and CPUs that have
        # fewer threads than devices may wait for each other for ever.
        return jax.tree.map(lambda leaf: leaf.addressable_data(0)[0], state)

    @property
    def layout(self) -> pallas_conv1d.Layout | None:
        """Where programs run, for `conv1d.laid_out`; None where there are no GPU kernels."""
        if not pallas_conv1d.available(self.devices[0]):
            return None
        return pallas_conv1d.Layout(self._mesh, AXIS) if self.kind == "jit" and len(self.devices) > 1 else ALONE

    def transform(self, function: Steps) -> Any:
        """Returns the compiled form of steps: the state is donated."""
        function = _laid_out(function, self.layout)
        if self.kind == "pmap":
            return jax.pmap(function, AXIS, in_axes=(0, None, None, 0), devices=self.devices, donate_argnums=0)
        shardings = None if len(self.devices) == 1 else self._replicated
        return jax.jit(function, donate_argnums=0, out_shardings=shardings)

    def shard_networks(self, tree: Any) -> Any:
        """Returns arrays laid out over the devices by their first axis, of networks; see `transform_networks`."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec(AXIS)))

    def transform_networks(self, function: Steps, networks: int, prefix: Callable[[Any, Any], Any]) -> Any:
        """Returns the steps of many networks at once, each of which belongs to one device: there is no traffic.

        State and order have a leading axis of networks, from `shard_networks`, as many on each device; and so has the
        part of the inputs that is a network's own. The rest of the inputs is `replicate`d, and there once for all
        networks of a device. The state is donated.

        Args:
          function: the steps of one network on one device.
          networks: of a device.
          prefix: (common, own) -> a prefix of the inputs' tree that tells which part of them is of which kind.
        """
        each, whole = PartitionSpec(AXIS), PartitionSpec()
        many = jax.vmap(
            _laid_out(function, self.layout and pallas_conv1d.Layout(networks=networks)),
            in_axes=(0, prefix(None, 0), 0),
        )
        # By hand rather than by the compiler, which has no good way to divide a convolution of many networks.
        specs = (each, prefix(whole, each), each)
        shared = jax.shard_map(many, mesh=self._mesh, in_specs=specs, out_specs=each, check_vma=False)
        return jax.jit(shared, donate_argnums=0)

    def shard_windows(self, shape: tuple[int, ...], make: Callable[[slice], np.ndarray]) -> jax.Array:
        """Returns the windows of some steps, (steps, batch, ...), as the compiled steps take them: each device has its
        own part of every batch. Under pmap there is a leading axis of devices.

        Args:
          shape: of the whole.
          make: a part of the batch -> its windows, (steps, part, ...); called for the devices of this process alone.
        """
        batch, part = shape[1], shape[1] // len(self.devices)
        axes = PartitionSpec(None, AXIS)

        def local(index: Any) -> np.ndarray:
            if self.kind == "jit":
                return make(slice(*index[1].indices(batch)[:2]))
            first = (index[0].start or 0) * part
            return make(slice(first, first + part))[None]

        if self.kind == "pmap":
            axes = PartitionSpec(AXIS)
            shape = (len(self.devices), shape[0], part, *shape[2:])
        return jax.make_array_from_callback(shape, NamedSharding(self._mesh, axes), local)

    def compile(
        self,
        function: Steps,
        state: Any,
        inputs: Any,
        records: int,
        signals: jax.Array | None = None,
    ) -> Steps:
        """Compiles steps ahead of time; the state is donated.

        Args:
          state, inputs, signals: as the steps will get them, on the devices.
        """
        order = self.replicate(jnp.zeros(records, jnp.int32))
        return self.transform(function).lower(state, inputs, order, signals).compile()


def _laid_out(function: Steps, layout: pallas_conv1d.Layout | None) -> Steps:
    """Steps that are traced for where they run."""

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with laid_out(layout):
            return function(*arguments)

    return traced


def one_device() -> Parallel:
    """Returns jit on this process' first device."""
    return Parallel("jit", (jax.local_devices()[0],))


def make_parallel(kind: str, count: int) -> Parallel:
    """Returns `kind` over the first `count` devices; 0: all, of all processes.

    Raises:
      ConfigError: for an unknown kind, or more devices than there are; with several processes also for pmap, and for
        fewer devices than all.
    """
    choose("config.parallel", kind, PARALLEL_KINDS)
    devices = jax.devices()
    if jax.process_count() > 1:
        if kind == "pmap":
            raise ConfigError("config.parallel: pmap runs in one process; choose jit for several")
        if count not in (0, len(devices)):
            raise ConfigError(
                f"config.devices: several processes take part with all of their {len(devices)} devices; set 0"
            )
    if not 0 <= count <= len(devices):
        raise ConfigError(f"config.devices: {count} devices asked for, {len(devices)} available")
    return Parallel(kind, tuple(devices[: count or len(devices)]))
