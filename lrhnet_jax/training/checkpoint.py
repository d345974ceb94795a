"""Trained networks on disk, and training progress that survives a kill; the only module that knows orbax.

FOLDER/progress/STEP/          a training run at a step (state and history), by orbax; removed when the network is
                               finished
FOLDER/variables/weights.npz   the finished network's parameters and BatchNorm statistics, arrays by their paths
FOLDER/network.json            what they belong to, and their checksum; written last, so its presence means that the
                               network is complete

Of several processes only the first reads and writes: the others need not see the folder, and write nothing.
"""

import contextlib
import errno
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from lrhnet_jax.errors import CheckpointError, StorageError, as_storage_error, storage_error
from lrhnet_jax.runtime import processes
from lrhnet_jax.runtime.files import read_json, write_json
from lrhnet_jax.training import description, weights
from lrhnet_jax.training.state import TrainState, variable_shapes

WEIGHTS = pathlib.Path("variables/weights.npz")  # in a finished network's folder


def step_of(state: TrainState) -> int:
    """Returns the step that a network's state is at, or the states of several, stacked: they are all at the same."""
    return int(np.ravel(state.step)[0])


class Progress:
    """The checkpoints of a network's training, or of several that train together; saving is asynchronous.

    A checkpoint holds the whole `TrainState` and the history of finished epochs; the newest two are kept.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = pathlib.Path(folder).absolute() / "progress"
        logging.getLogger("absl").addFilter(_not_of_orbax)
        with self._storage():
            self._manager = _manager(self.folder) if processes.is_first() else None

    def save(self, state: TrainState, history: list[dict[str, Any]]) -> None:
        """Starts saving; returns when the state has been copied, so that the next step may donate it."""
        step = step_of(state)
        if self._manager is None or self._manager.latest_step() == step:
            return
        # Real copies: on a CPU a host view shares the buffer that the next step overwrites.
        host = jax.tree.map(np.array, state)
        need = sum(leaf.nbytes for leaf in jax.tree.leaves(host))
        if shutil.disk_usage(self.folder).free < need:  # orbax's threads would tell of it in hundreds of lines
            raise storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self.folder)
        args = ocp.args.Composite(state=ocp.args.StandardSave(host), history=ocp.args.JsonSave(history))
        with self._storage():
            self._manager.save(step, args=args)

    def restore(self, template: TrainState) -> tuple[TrainState, list[dict[str, Any]]] | None:
        """Returns the newest state and history, or None if nothing was saved.

        Raises:
          CheckpointError: if the checkpoint cannot be read, or belongs to another network.
        """
        restored = processes.from_first(lambda: self._read(template))
        if restored is None:
            return None
        leaves, history = restored
        # Copies, since the first step donates them and orbax's arrays may share memory.
        copies = [jax.numpy.array(leaf, copy=True) for leaf in leaves]
        return jax.tree.unflatten(jax.tree.structure(template), copies), history

    def _read(self, template: TrainState) -> tuple[list[np.ndarray], list[dict[str, Any]]] | None:
        assert self._manager is not None
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), history=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=args)
        except Exception as error:
            raise CheckpointError(
                f"{self.folder / str(step)}: cannot be restored ({_first_line(error)}); delete that folder to go on "
                "from the checkpoint before it, or choose another --workdir"
            ) from error
        check_shapes(self.folder / str(step), restored["state"], template)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(restored["state"])], restored["history"]

    def wait(self) -> None:
        """Waits until what was saved is safe on disk.

        Raises:
          StorageError: if it could not be written.
        """
        if self._manager is not None:
            with self._storage():
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits as `wait` does, and lets go of the folder."""
        try:
            self.wait()
        finally:
            if self._manager is not None:
                manager, self._manager = self._manager, None
                with contextlib.suppress(Exception):  # told by `wait`
                    manager.close()

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        """Makes a StorageError of what orbax raises when it cannot write: errors of many types, with long texts."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            if told := as_storage_error(error, self.folder):
                raise told from error
            raise CheckpointError(f"{self.folder}: cannot be saved ({_first_line(error):.300})") from error


def _not_of_orbax(record: logging.LogRecord) -> bool:
    """Keeps back the tracebacks that orbax's threads log: what they tell of is raised where it is waited for."""
    return not (record.exc_info and "orbax" in record.pathname)


def _alone() -> ocp.options.MultiprocessingOptions:
    """orbax would wait for all processes."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="first")


def _manager(folder: pathlib.Path) -> ocp.CheckpointManager:
    folder.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, cleanup_tmp_directories=True, create=False, multiprocessing_options=_alone()
    )
    return ocp.CheckpointManager(folder, options=options)


def _first_line(error: Exception) -> str:
    """The message's first line: orbax goes on with the whole tree."""
    return str(error).partition("\n")[0]


def is_finished(folder: pathlib.Path) -> bool:
    return (folder / "network.json").exists()


def save_model(folder: pathlib.Path, variables: dict[str, Any], meta: dict[str, Any]) -> None:
    """Writes a finished network: its variables, then network.json; removes its training progress. On the first process.

    What was written is read back and compared before the progress goes.

    Args:
      folder: WORKDIR/networks/NAME.
      variables: {"params", "batch_stats"}.
      meta: what `description.check` takes; JSON values.

    Raises:
      CheckpointError: if what is read back is not what was written.
    """
    if not processes.is_first():
        return
    folder = pathlib.Path(folder).absolute()
    arrays = flatten(variables)
    write_json(folder / "network.json", {**meta, "sha256": weights.write(folder / WEIGHTS, arrays)})
    _, stored = _read_model(folder)
    if any(not np.array_equal(stored[name], array, equal_nan=True) for name, array in arrays.items()):
        raise CheckpointError(f"{folder}: what was saved does not read back as it was; is the disk sound?")
    remove_progress(folder)


def remove_progress(folder: pathlib.Path) -> None:
    """Removes what a finished network's training no longer needs."""
    shutil.rmtree(folder / "progress", ignore_errors=True)


def flatten(variables: Any) -> dict[str, np.ndarray]:
    """Arrays by their paths, as "params/conv1/kernel"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def _read_model(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the checked description of a finished network, without its checksum, and the arrays that belong to it."""
    path = folder / "network.json"
    meta = description.check(read_json(path), path)
    return meta, weights.read(folder / WEIGHTS, meta.pop("sha256", None), path.name)


def load_model(folder: str | pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Loads a finished network.

    Returns:
      meta: what `save_model` was given, and "thresholds": a float for each class, or None (before it was evaluated, or
        of classes that exclude each other).
      variables: {"params", "batch_stats"}, on the default device.

    Raises:
      CheckpointError: if the folder does not hold a finished network, its description makes no sense, its weights were
        altered, or do not fit its model.
    """
    folder = pathlib.Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give WORKDIR/networks/NAME of a finished run")
    if not is_finished(folder):
        if (folder / "progress").exists():
            raise CheckpointError(
                f"{folder}: its training is not finished; run the training command again to resume it"
            )
        inside = sorted(str(path.parent) for path in folder.glob("**/network.json"))
        hint = f"; there are {', '.join(inside)}" if inside else "; give WORKDIR/networks/NAME of a finished run"
        raise CheckpointError(f"{folder}: no trained network here{hint}")
    meta, arrays = _read_model(folder)
    try:
        template = variable_shapes(description.create_model(meta), len(meta["leads"]), meta["window"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'network.json'}: does not describe a network ({error!r})") from error
    variables = traverse_util.unflatten_dict({tuple(name.split("/")): array for name, array in arrays.items()})
    check_shapes(folder, variables, template)
    thresholds = folder / "thresholds.json"
    meta["thresholds"] = None
    if thresholds.exists():
        stored = read_json(thresholds)
        values = stored.get("thresholds") if isinstance(stored, dict) else stored
        meta["thresholds"] = description.check_thresholds(values, meta["classes"], thresholds)
    return meta, jax.tree.map(jax.numpy.asarray, variables)


def check_shapes(where: str | pathlib.Path, variables: Any, template: Any) -> None:
    """Raises CheckpointError if two trees differ in names or shapes, where orbax would cut or fill an array.

    Args:
      where: the file or folder of `variables`, for the message.
    """
    stored, wanted = (
        {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (variables, template)
    )
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{where}: {name} has shape {stored.get(name)}, where the network has {wanted.get(name)}; it belongs "
                "to another network, or to other leads"
            )
