"""Writes planned records as WFDB files in PhysioNet's layout, quirks included."""

import csv
import functools
import multiprocessing
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_builders import guard
from data_builders.synthetic import plan, statements
from data_builders.synthetic.generator import generate
from lrhnet_jax.ecg.leads import LEADS
from lrhnet_jax.errors import DataError
from lrhnet_jax.tasks import physionet2020

_PROGRESS_FROM = 1000  # records from which a progress bar is worth its lines
_CODE = {abbreviation: code for code, (abbreviation, _) in physionet2020.DIAGNOSES.items()}


def write(
    raw_dir: str | os.PathLike[str],
    records: int,
    seed: int = 0,
    *,
    source: str = "",
    boost: bool = True,
    incart_seconds: float = 60.0,
    workers: int = 1,
) -> None:
    """Writes a synthetic set: raw_dir/training/SOURCE/g*/NAME.{hea,mat} and raw_dir/ptbxl_database.csv.

    A record depends on `seed` and its number alone: a larger set begins with the same records, and the number of
    workers changes nothing. The set has the six sources of the Challenge 2020, in which some patients of ptb-xl have
    several records (ptbxl_database.csv, see `statements`), and a few records in a hundred carry no scored class.

    Args:
      raw_dir: made if missing; files of the same names are overwritten.
      records: how many to write.
      seed: of the set.
      source: one of the six sources ("ptb-xl"), to write no other; its records are others than in a mixed set.
      boost: make rare classes more frequent, see `plan.records`.
      incart_seconds: length of the St Petersburg records, really 1800.
      workers: processes; more than one needs an importable main module, as every spawned pool does.

    Raises:
      ValueError: if `records` or `workers` is below one.
    """
    if records < 1 or workers < 1:
        raise ValueError(f"records and workers must be 1 or more; got records={records}, workers={workers}")
    root = Path(raw_dir)
    planned = plan.records(records, seed, source=source, boost=boost, incart_seconds=incart_seconds)
    for folder in {_folder(root, record) for record in planned}:
        folder.mkdir(parents=True, exist_ok=True)
    for_all(functools.partial(_write_record, root, seed), planned, workers)
    _write_patients(root / "ptbxl_database.csv", seed, planned)


def for_all(function: Callable[[Any], None], planned: Sequence[Any], workers: int) -> None:
    """Calls `function` with every planned record, in `workers` processes, with a progress bar for a large set."""
    bar = functools.partial(
        tqdm,
        total=len(planned),
        desc="writing synthetic records",
        unit="rec",
        mininterval=1.0,
        disable=len(planned) < _PROGRESS_FROM,
    )
    if workers == 1:
        _drain(bar(map(function, planned)))
    else:
        context = multiprocessing.get_context("spawn")  # not forked: the caller may hold threads
        begun = context.Value("b", 0)
        try:
            with ProcessPoolExecutor(workers, context, _begin, (begun,)) as pool:
                _drain(bar(pool.map(function, planned, chunksize=32)))
        except BrokenProcessPool as error:
            if not begun.value:
                raise DataError(f"a worker process ended before it began: {guard.ADVICE}") from error
            raise DataError(f"one of {workers} worker processes died; try fewer: --workers=1") from error


def _begin(begun: Any) -> None:
    begun.value = 1


def _drain(results: Iterable[None]) -> None:
    for _ in results:
        pass


def _folder(root: Path, record: plan.PlannedRecord) -> Path:
    return root / "training" / record.source / f"g{record.number // 1000 + 1}"


def _write_record(root: Path, seed: int, record: plan.PlannedRecord) -> None:
    # A stream of its own: what the header says must not change the signal.
    rng = np.random.default_rng([seed, record.number, 1])
    signal = generate(
        [_CODE[name] for name in record.classes],
        (seed, record.number),
        record.seconds,
        record.rate,
        record.age,
        record.sex,
        patient=(seed, record.patient),
        mains=plan.SOURCES[record.source].mains,
    )
    if rng.random() < 0.004:
        signal[:, rng.integers(6, 12)] = 0.0  # an electrode that fell off
    gain, baseline, units = _scale(rng, record.source)
    digital = np.clip(np.rint(signal * gain) + baseline, -32768, 32767).astype("<i2")
    path = _folder(root, record) / record.name
    write_wfdb(path, digital, _header(rng, record, digital, gain, baseline, units))


def write_wfdb(path: Path, digital: np.ndarray, header: str) -> None:
    """Writes path.mat, of samples (time, leads) int16, and path.hea."""
    # The header comes last: a header without its signal would look like a damaged record.
    with path.with_suffix(".mat").open("wb") as file:
        file.write(struct.pack("<5i", 30, digital.shape[1], digital.shape[0], 0, 4) + b"val\0")
        file.write(digital.tobytes())  # MATLAB stores columns: all leads of the first sample, then of the next
    path.with_suffix(".hea").write_text(header, encoding="ascii")


def _scale(rng: np.random.Generator, source: str) -> tuple[int, int, str]:
    """Returns ADC units per mV, the value of 0 mV, and how the header spells mV."""
    if source == "georgia" and rng.random() < 0.1:
        return 4880, 0, "mV"
    if source == "cpsc_2018_extra" and rng.random() < 0.15:
        return 200, 0, "mV"
    if source == "st_petersburg_incart":
        return 306, (12 if rng.random() < 0.3 else 0), "mv"
    return 1000, 0, "mv" if source == "ptb" else "mV"


def _header(
    rng: np.random.Generator, record: plan.PlannedRecord, digital: np.ndarray, gain: int, baseline: int, units: str
) -> str:
    dated = " 15-May-2020 15:22:05" if record.source not in ("ptb-xl", "georgia") else ""
    form = "16x1+24" if record.source == "georgia" else "16+24"
    scale = f"{gain}({baseline})/{units}" if baseline else f"{gain}/{units}"
    lines = [f"{record.name} {len(LEADS)} {record.rate} {len(digital)}{dated}"]
    checksums = digital.sum(axis=0, dtype=np.int64).astype(np.int16)  # modulo 2**16, as WFDB defines it
    for lead, first, checksum in zip(LEADS, digital[0], checksums, strict=True):
        lines.append(f"{record.name}.mat {form} {scale} 16 0 {first} {checksum} 0 {lead}")
    hash_mark = "# " if record.source == "georgia" else "#"
    lines += [
        f"{hash_mark}Age: {_age(rng, record)}",
        f"{hash_mark}Sex: {_sex(rng, record)}",
        f"#Dx: {','.join(record.codes)}",
        f"{hash_mark}Rx: Unknown",
        f"{hash_mark}Hx: Unknown",
        f"{hash_mark}Sx: Unknown",
    ]
    return "\n".join(lines) + "\n"


def _age(rng: np.random.Generator, record: plan.PlannedRecord) -> str:
    if rng.random() < (0.06 if record.source == "ptb" else 0.008):
        return "NaN"
    if record.source == "ptb-xl" and record.age > 89:
        return "300"
    return f"{record.age:.0f}"


def _sex(rng: np.random.Generator, record: plan.PlannedRecord) -> str:
    if rng.random() < 0.006:
        return "Unknown"
    female, male = plan.SOURCES[record.source].sexes
    return female if record.sex == "female" else male


def _write_patients(path: Path, seed: int, planned: list[plan.PlannedRecord]) -> None:
    with path.open("w", newline="", encoding="ascii") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold"])
        for record in planned:
            if record.source == "ptb-xl":
                age = 300.0 if record.age > 89 else record.age
                scored = physionet2020.encode_labels(record.codes).any()
                codes = statements.of(record.classes) if scored else {}
                fold = np.random.default_rng([seed, record.patient, 4]).integers(1, 11)
                table.writerow([record.number, f"{record.patient}.0", age, int(record.sex == "female"), codes, fold])
