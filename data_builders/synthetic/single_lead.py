"""A synthetic set as Challenge 2017 has it: short records of lead I, each normal, AF, of another rhythm, or noisy."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import signal as scipy_signal

from data_builders.synthetic import archive
from data_builders.synthetic.generator import generate
from lrhnet_jax.tasks import physionet2020

RATE = 300  # Hz
SHARES = {"N": 0.5, "A": 0.15, "O": 0.25, "~": 0.1}  # really .60, .09, .28 and .03: a small set needs more of the rare
OTHERS = ("PAC", "PVC", "AFL", "SB", "STach", "IAVB", "LBBB", "RBBB", "PR")  # diagnoses that are "other rhythm"
_CODE = {abbreviation: code for code, (abbreviation, _) in physionet2020.DIAGNOSES.items()}


@dataclass(frozen=True)
class PlannedRecord:
    """What is to be written: `number` counts from 1, `diagnosis` is what the heart has, `label` what the table says."""

    number: int
    label: str
    diagnosis: str
    seconds: float
    age: float
    sex: str

    @property
    def name(self) -> str:
        return f"A{self.number:05d}"


def records(count: int, seed: int) -> list[PlannedRecord]:
    """Plans a set: the first records are the same whatever the count."""
    planned = []
    for number in range(1, count + 1):
        rng = np.random.default_rng([seed, number, 5])
        label = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        heart = label if label != "~" else str(rng.choice(["N", "A", "O"]))  # noise comes over any heart
        diagnosis = {"N": "NSR", "A": "AF"}.get(heart) or str(rng.choice(OTHERS))
        # Most records are 30 s long, as they really are.
        seconds = 30.0 if rng.random() < 0.7 else round(float(rng.uniform(9, 61)), 1)
        sex = "female" if rng.random() < 0.5 else "male"
        planned.append(PlannedRecord(number, label, diagnosis, seconds, float(rng.integers(20, 90)), sex))
    return planned


def write(raw_dir: str | os.PathLike[str], count: int, seed: int = 0, *, workers: int = 1) -> None:
    """Writes a synthetic set: raw_dir/training2017/{NAME.hea,NAME.mat,REFERENCE.csv}.

    A record depends on `seed` and its number alone: a larger set begins with the same records, and the number of
    workers changes nothing.

    Args:
      raw_dir: made if missing; files of the same names are overwritten.
      count: how many records to write.
      seed: of the set.
      workers: processes; more than one needs an importable main module, as every spawned pool does.

    Raises:
      ValueError: if `count` or `workers` is below one.
    """
    if count < 1 or workers < 1:
        raise ValueError(f"count and workers must be 1 or more; got count={count}, workers={workers}")
    folder = Path(raw_dir) / "training2017"
    folder.mkdir(parents=True, exist_ok=True)
    planned = records(count, seed)
    archive.for_all(functools.partial(_write_record, folder, seed), planned, workers)
    (folder / "REFERENCE.csv").write_text("".join(f"{record.name},{record.label}\n" for record in planned))


def _write_record(folder: Path, seed: int, record: PlannedRecord) -> None:
    key = (seed, record.number)
    lead = generate([_CODE[record.diagnosis]], key, record.seconds, RATE, record.age, record.sex)[:, 0]
    if record.label == "~":
        lead = drown(np.random.default_rng([*key, 6]), lead)
    digital = np.clip(np.rint(lead * 1000), -32767, 32767).astype("<i2")[:, None]
    header = f"{record.name} 1 {RATE} {len(digital)}\n{record.name}.mat 16+24 1000/mV 16 0 {digital[0, 0]} 0 0 ECG\n"
    archive.write_wfdb(folder / record.name, digital, header)


def drown(rng: np.random.Generator, lead: np.ndarray) -> np.ndarray:
    """Returns a signal (samples,) under noise as large as its beats, in their own band: of electrodes held loosely."""
    numerator, denominator = scipy_signal.butter(2, [1.0, 40.0], "band", fs=RATE)
    noise = scipy_signal.lfilter(numerator, denominator, rng.standard_normal(len(lead)))
    noise *= rng.uniform(0.5, 1.0) * np.ptp(lead) / np.std(noise)
    knots = max(len(lead) // RATE // 2, 3)  # the grip changes every other second
    grip = np.interp(np.arange(len(lead)), np.linspace(0, len(lead), knots), rng.uniform(0.5, 1.5, knots))
    return (lead + grip * noise).astype(np.float32)
