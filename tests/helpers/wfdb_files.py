"""A writer of small WFDB records, with whatever fault a test wants in them."""

import pathlib
import struct

import numpy as np
import wfdb

from lrhnet_jax.ecg.leads import LEADS

NSR, AF, RBBB, OLD_RBBB = "426783006", "164889003", "713427006", "59118001"


def write_record(
    folder: pathlib.Path,
    name: str,
    values: np.ndarray | None = None,
    *,
    leads=LEADS,
    rate="500",
    gain="1000/mV",
    comments=("#Age: 56", "#Sex: Female", f"#Dx: {NSR}"),
    checksums=None,
    storage="16+24",
    announced=None,
) -> pathlib.Path:
    """Writes NAME.hea and NAME.mat as PhysioNet does; returns the header's path.

    Args:
      values: (samples, leads) int16 in ADC units; None makes two seconds of noise that the name decides.
      announced: (leads, samples) that the header claims, if others than `values` has.
    """
    if values is None:
        noise = np.random.default_rng(list(name.encode())).normal(0, 300, (1000, len(leads)))
        values = noise.astype(np.int16)
    folder.mkdir(parents=True, exist_ok=True)
    matrix = struct.pack("<5i", 30, values.shape[1], values.shape[0], 0, 4) + b"val\0"
    (folder / f"{name}.mat").write_bytes(matrix + np.ascontiguousarray(values, "<i2").tobytes())
    if checksums is None:
        checksums = values.sum(0, dtype=np.int64).astype(np.int16)
    count, samples = announced or (len(leads), len(values))
    lines = [f"{name} {count} {rate} {samples} 04-Jun-2020 15:11:55"]
    lines += [
        f"{name}.mat {storage} {gain} 16 0 {values[0, i]} {checksums[i]} 0 {lead}" for i, lead in enumerate(leads)
    ]
    path = folder / f"{name}.hea"
    path.write_text("\n".join([*lines, *comments]) + "\n")
    return path


def comments(*codes: str, age: object = 56, sex: str = "Female") -> list[str]:
    return [f"#Age: {age}", f"#Sex: {sex}", f"#Dx: {','.join(codes)}", "#Rx: Unknown"]


def write_noise(folder, name, codes="", leads=LEADS, seconds=3.0, rate=500, seed=0):
    """Writes NAME.hea and NAME.dat by wfdb itself, of a random walk; returns the header's path."""
    folder.mkdir(parents=True, exist_ok=True)
    signal = np.cumsum(np.random.default_rng(seed).normal(size=(int(seconds * rate), len(leads))), axis=0) / 100
    comments = ["Age: 61", "Sex: Male", *([f"Dx: {codes}"] if codes else [])]
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV"] * len(leads),
        sig_name=list(leads),
        p_signal=signal,
        fmt=["16"] * len(leads),
        comments=comments,
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"
