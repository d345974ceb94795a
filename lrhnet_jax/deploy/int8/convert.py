"""A trained network made into an integer program: calibrated on some recordings, chosen on others.

The records that the network's run has scored are left to compare answers on; of the others, which have folds as well,
one fold chooses among the ways to calibrate, and the rest calibrates. So nothing is judged on what it was fitted to.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lrhnet_jax.data import splits
from lrhnet_jax.data.dataset import Dataset
from lrhnet_jax.data.windows import HostSignals, average, covering_windows
from lrhnet_jax.deploy.int8 import calibrate, fuse, graph, program, quantize, trace
from lrhnet_jax.errors import ConfigError, DataError

Array = np.ndarray
Logits = Callable[[jax.Array, jax.Array], jax.Array]  # (signal, demographics), any batch -> (batch, classes)

HELD_OUT: dict[str, Any] = {"protocol": "reference", "fold": 0, "train_only": ()}  # where a network does not say it
MOST_WINDOWS = 256  # that calibrate, and that choose
TRACE_TOLERANCE = 1e-3  # of a logit, times the largest one: between a network and its graph
BATCH = 16


class Windows(NamedTuple):
    """Windows of records, as a network reads them.

    Attributes:
      signal: (windows, window, leads) float32.
      demographics: (windows, 5) float32.
      record: (windows,) which record.
      records: how many there are.
    """

    signal: Array
    demographics: Array
    record: Array
    records: int

    def average(self, probabilities: Array) -> Array:
        """Returns each record's probabilities, (records, classes) float32: the mean over its windows."""
        return average(probabilities, self.record, self.records)


class Conversion(NamedTuple):
    """A network and its integer program.

    Attributes:
      graph: the network, fused, in floating point.
      program: the same in integers.
      method: of `calibrate.METHODS`, the one that was chosen.
      errors: by method, the root of the mean squared error of a logit.
      windows: how many calibrated, and how many chose.
    """

    graph: graph.Graph
    program: program.Program
    method: str
    errors: dict[str, float]
    windows: tuple[int, int]


def cut(records: Dataset, leads: tuple[str, ...], window: int, most: int | None = None) -> Windows:
    """Returns the windows that cover each record, or `most` of them, spread evenly.

    Raises:
      DataError: if the records lack a lead.
    """
    record, start = covering_windows(records.lengths, window)
    if most is not None and len(record) > most:
        kept = np.linspace(0, len(record) - 1, most).round().astype(int)
        record, start = record[kept], start[kept]
    signals = HostSignals(records.signals.view(np.ndarray), records.offsets, records.lengths)
    signal = signals.cut(record, start, window, records.columns(leads)).astype(np.float32)
    return Windows(signal, records.demographics[record], record, len(records))


def held_out(meta: Mapping[str, Any], records: Dataset) -> Mapping[str, Any]:
    """Returns which of the records a network was scored on, for `parts`; of a set that it does not know, fold 0."""
    return meta.get("held_out", HELD_OUT) if records.name == meta.get("trained_on") else HELD_OUT


def parts(records: Dataset, held_out: Mapping[str, Any] = HELD_OUT) -> tuple[Dataset, Dataset, Dataset]:
    """Returns the records that calibrate, those that choose, and those to compare answers on.

    Args:
      held_out: the records that the network was scored on, and has not been trained on: the first arguments of
        `splits.scored`.

    Raises:
      DataError: if one of them would be empty, or values are not finite.
    """
    if not (np.isfinite(records.signals).all() and np.isfinite(records.demographics).all()):
        raise DataError(f"the records of {records.name} hold NaN or infinity: nothing can be calibrated with them")
    comparing = splits.scored(records, **held_out)
    next_fold = (held_out["fold"] + 1) % splits.NUM_FOLDS
    choosing = ~comparing & (records.folds == next_fold)
    split = (~comparing & ~choosing, choosing, comparing)
    if not all(part.any() for part in split):
        raise DataError(
            f"{len(records)} records of the set {records.name} are too few to convert a network to integers: those "
            f"that it was scored on, fold {next_fold} and the others need a record each; build a larger set"
        )
    calibrate, choose, compare = (records.select(part) for part in split)
    return calibrate, choose, compare


def answers(logits: Logits, windows: Windows) -> Array:
    """Returns a network's logits of windows, (windows, classes) float32."""
    run, count = jax.jit(logits), len(windows.signal)
    parts = []
    for start in range(0, count, BATCH):
        rows = np.arange(start, start + min(BATCH, count)) % count  # the last batch is filled up: one compilation
        parts.append(np.asarray(run(windows.signal[rows], windows.demographics[rows])))
    return np.concatenate(parts)[:count]


def convert(logits: Logits, calibrating: Windows, choosing: Windows, sums: bool = True) -> Conversion:
    """Returns the integer program of a network whose logits are nearest to the network's.

    Args:
      sums: as of `fuse.fuse`.

    Raises:
      ConfigError: if the network has a layer that integers cannot have.
      DataError: for no windows, or values that are not finite.
    """
    window, leads = calibrating.signal.shape[1:]
    fused = fuse.fuse(trace.trace(logits, window, leads), sums)
    histograms = calibrate.Histograms(fused, (calibrating.signal, calibrating.demographics))
    expected = answers(logits, choosing)
    again = answers(lambda *inputs: graph.run(fused, *inputs)[fused.output], choosing)
    worst = np.abs(again - expected).max() / max(1.0, np.abs(expected).max())
    if not worst <= TRACE_TOLERANCE:  # nor NaN
        raise ConfigError(f"the network's graph computes other logits than the network (by {worst:.2g}): do not use it")
    inputs = program.quantize_inputs(choosing.signal, choosing.demographics)
    errors, programs = {}, {}
    for method in calibrate.METHODS:
        programs[method] = made = quantize.quantize(fused, histograms.ranges(method, fused))
        integers = program.run(made, *inputs) / program.LOGIT_ONE
        errors[method] = float(np.sqrt(np.square(integers - expected).mean()))
    method = calibrate.best_method(errors)
    return Conversion(fused, programs[method], method, errors, (len(calibrating.signal), len(choosing.signal)))


def probabilities(made: program.Program, windows: Windows, exclusive: bool) -> Array:
    """Returns each record's probabilities by an integer program, (records, classes) float32."""
    inputs = program.quantize_inputs(windows.signal, windows.demographics)
    integers = program.probabilities(program.run(made, *inputs), exclusive)
    return windows.average(integers / program.PROBABILITY_ONE)
