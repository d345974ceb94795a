"""A plain two-lead record, and others that hold the same signal in less plain forms."""

import pathlib

import numpy as np

_walk = np.cumsum(np.random.default_rng(3).integers(-9, 10, (5000, 2)), axis=0)
PLAIN = (_walk - _walk.mean(0).astype(int)).astype(np.int16)  # (samples, leads): 1000 a millivolt
MILLIVOLTS = (PLAIN / 1000).astype(np.float32)
PERSON = ("#Age: 61", "#Sex: Female", "#Dx: 426783006")


def checksum(values: np.ndarray) -> int:
    return int((int(values.sum(dtype=np.int64)) + 32768) % 65536 - 32768)


def signal_lines(file, values, names=("I", "II"), storage="16", gain="1000/mV", sums=True):
    """The signal lines of a header for values (samples, signals)."""
    return [
        f"{file} {storage} {gain} 16 0 {column[0]} {checksum(column) if sums else 0} 0 {name}"
        for column, name in zip(values.T, names, strict=True)
    ]


def write(folder: pathlib.Path, name: str, lines, *, record=None, data=None, comments=PERSON, end="\n") -> pathlib.Path:
    """Writes NAME.hea, and NAME.dat if there is `data`; returns the header's path."""
    folder.mkdir(parents=True, exist_ok=True)
    if data is not None:
        (folder / f"{name}.dat").write_bytes(data)
    path = folder / f"{name}.hea"
    text = end.join([record or f"{name} {len(lines)} 500 5000", *lines, *comments]) + end
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def write_plain(folder: pathlib.Path, name: str = "plain", **options) -> pathlib.Path:
    """Writes `PLAIN` in format 16."""
    names = options.pop("names", ("I", "II"))
    gain = options.pop("gain", "1000/mV")
    lines = signal_lines(f"{name}.dat", PLAIN, names, gain=gain)
    return write(folder, name, lines, data=PLAIN.astype("<i2").tobytes(), **options)
