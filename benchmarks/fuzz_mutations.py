"""Good WFDB records of every kind, and what spoils them; for `benchmarks.fuzz_records`."""

import os
import pathlib
import re
import shutil
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse
import wfdb

NAMES = ("I", "II", "V1", "RESP")
RATE, SAMPLES = 250, 1000
WRITTEN = ("16", "24", "32", "80", "212", "508", "516", "524")  # formats that wfdb writes
RANDOM = {"8": 1.0, "61": 2.0, "160": 2.0, "310": 4 / 3, "311": 4 / 3, "16": 2.0}  # bytes a sample: any are a signal
NUMBERS = (
    *("", "0", "1", "-1", "2", "3", "7", "24", "99", "500", "32768", "-32768", "65536", "2147483648", "9" * 30),
    *("1e308", "1e-300", "0.001", "nan", "inf", "-0", "+5", "5.", ".5", "0x10", "1_000", "~", "a", "%s", "16x4"),
    *("16:3", "16+24", "212", "32", "8", "1000/uV", "1000/\u00b5V", "1000/V", "1/mV", "1000(5)/mV", "0/mV", "-5/mV"),
    *("1000(1000000000000)/mV", "1e-30/mV", "1e30/mV", "5/mmHg", "\u0661\u0662", "\uff11\uff12", "\u00b2"),
)
PLACES = (
    *("../secret.dat", "/etc/passwd", "/dev/null", "/dev/zero", "..", ".", "~", "sub/../../secret.dat", "a\\..\\b"),
    *("C:\\secret.dat", "other.dat", "http://localhost/a.dat", "\x00", "/proc/self/environ", "record.hea", "x" * 300),
)
BLANKS, LONG = " " * 100_000, "9" * 100_000
TEXTS = ("#Age: 89+", "#Dx: 1;2", f"#{BLANKS}x", f"# Age:{BLANKS}:", "#", "\u2028", "\x85", "\x0c", f"#{LONG}")
MATRICES = (
    *(
        "val",
        "cell",
        "struct",
        "text",
        "sparse",
        "complex",
        "cube",
        "three",
        "empty",
        "scalar",
        "double",
        "nan",
        "bool",
    ),
)
FILES = ("gone", "pipe", "folder", "loop", "device", "capitals")


def write_bases(folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes a good record of each kind into a folder of its own; returns the folders."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.integers(-3, 4, (SAMPLES, len(NAMES))), axis=0)
    bases = []
    for form in WRITTEN:
        base = folder / f"format{form}"
        base.mkdir(parents=True)
        wfdb.wrsamp(
            "record",
            fs=RATE,
            units=["mV"] * len(NAMES),
            sig_name=list(NAMES),
            d_signal=np.clip(walk, -120, 120).astype(np.int64),
            fmt=[form] * len(NAMES),
            adc_gain=[100.0] * len(NAMES),
            baseline=[0] * len(NAMES),
            comments=["Age: 61", "Sex: F", "Dx: 426783006"],
            write_dir=str(base),
        )
        bases.append(base)
    for form, size in RANDOM.items():  # without checksums
        base = folder / f"random{form}"
        base.mkdir()
        data = np.frombuffer(rng.bytes(int(size * SAMPLES * len(NAMES)) + 8), np.uint8).copy()
        if form == "311":
            data[3::4] &= 63  # the highest two bits are not used, and wfdb 4.3 reads one of them
        (base / "record.dat").write_bytes(data.tobytes())
        lines = [f"record.dat {form} 1000/mV 16 0 5 0 0 {name}" for name in NAMES]
        _write(base, "record", f"record {len(NAMES)} {RATE} {SAMPLES}", lines)
        bases.append(base)
    bases += [_matlab(folder / "matlab4", walk), _frames(folder / "frames", walk), _segments(folder / "segments", walk)]
    return bases


def _lines(storage: str, file: str, values: np.ndarray, names: tuple[str, ...] = NAMES) -> list[str]:
    sums = values.sum(0, dtype=np.int64).astype(np.int16)
    rows = enumerate(zip(names, sums, strict=True))
    return [f"{file} {storage} 100/mV 16 0 {values[0, i]} {total} 0 {name}" for i, (name, total) in rows]


def _write(folder: pathlib.Path, name: str, head: str, lines: list[str]) -> None:
    (folder / f"{name}.hea").write_text("\n".join([head, *lines, "#Age: 61", "#Sex: F", "#Dx: 426783006"]) + "\n")


def _matlab(folder: pathlib.Path, walk: np.ndarray) -> pathlib.Path:
    folder.mkdir()
    head = struct.pack("<5i", 30, len(NAMES), SAMPLES, 0, 4) + b"val\0"
    (folder / "record.mat").write_bytes(head + walk.astype("<i2").tobytes())
    _write(folder, "record", f"record 4 {RATE} {SAMPLES}", _lines("16+24", "record.mat", walk))
    return folder


def _frames(folder: pathlib.Path, walk: np.ndarray) -> pathlib.Path:
    folder.mkdir()
    frames = np.concatenate([walk[:, 0].reshape(-1, 2), walk[:, 1].reshape(-1, 2), walk[::2, 3:]], axis=1)
    (folder / "record.dat").write_bytes(frames.astype("<i2").tobytes())
    lines = [line.replace(" 16 100", " 16x2 100") for line in _lines("16", "record.dat", walk)[:2]]
    lines += _lines("16", "record.dat", walk[::2, 3:], ("RESP",))
    _write(folder, "record", f"record 3 {RATE // 2} {SAMPLES // 2}", lines)
    return folder


def _segments(folder: pathlib.Path, walk: np.ndarray) -> pathlib.Path:
    folder.mkdir()
    for i, part in enumerate(np.split(walk, 2)):
        (folder / f"part{i}.dat").write_bytes(part.astype("<i2").tobytes())
        _write(folder, f"part{i}", f"part{i} 4 {RATE} {len(part)}", _lines("16", f"part{i}.dat", part))
    halves = [f"part{i} {SAMPLES // 2}" for i in range(2)]
    (folder / "record.hea").write_text("\n".join([f"record/2 4 {RATE} {SAMPLES}", *halves, "#Age: 61"]) + "\n")
    return folder


def mutate(rng: np.random.Generator, base: pathlib.Path, case: pathlib.Path) -> str:
    """Copies a base into `case` and spoils it; returns what was done."""
    shutil.copytree(base, case)
    (case.parent / "secret.dat").write_bytes(bytes(range(256)) * 64)
    done = []
    for _ in range(int(rng.integers(1, 3))):
        kind = str(_pick(rng, [*_MUTATIONS, "field", "field"]))
        plain = sorted(path for path in case.iterdir() if path.is_file())
        headers = [path for path in plain if path.suffix == ".hea"]
        if not headers:
            break
        header, signals = _pick(rng, headers), [path for path in plain if path.suffix in (".dat", ".mat")]
        done.append(f"{kind}: {_MUTATIONS[kind](rng, header, signals)}")
    return "; ".join(done)


def _pick(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _edit(rng: np.random.Generator, header: pathlib.Path, tokens: tuple[str, ...], column: int | None) -> str:
    lines = header.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    at = int(rng.integers(len(lines)))
    fields = lines[at].split(" ")
    field = int(rng.integers(len(fields))) if column is None else min(column, len(fields) - 1)
    token = str(_pick(rng, tokens))
    fields[field] = token
    lines[at] = " ".join(fields)
    header.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    return f"{header.name} line {at} field {field} = {token[:30]!a}"


def _line(rng: np.random.Generator, header: pathlib.Path, _: Any) -> str:
    lines = header.read_bytes().split(b"\n")
    at, how = int(rng.integers(len(lines))), str(rng.choice(["drop", "double", "swap", "crlf", "cr", "empty", "tabs"]))
    if how == "drop":
        del lines[at]
    elif how == "double":
        lines.insert(at, lines[at])
    elif how == "swap":
        lines[at], lines[0] = lines[0], lines[at]
    elif how == "tabs":
        lines = [line.replace(b" ", b"\t", 3) for line in lines]
    end = {"crlf": b"\r\n", "cr": b"\r"}.get(how, b"\n")
    header.write_bytes(b"" if how == "empty" else end.join(lines))
    return f"{header.name} {how} {at}"


def _text(rng: np.random.Generator, header: pathlib.Path, _: Any) -> str:
    text, data = str(_pick(rng, TEXTS)), header.read_bytes()
    at = _pick(rng, [0, len(data), *(match.end() for match in re.finditer(rb"\n| ", data))])
    header.write_bytes(data[:at] + text.encode() + data[at:])
    return f"{header.name} at {at} {text[:30]!a}"


def _bytes(rng: np.random.Generator, path: pathlib.Path, _: Any) -> str:
    data = bytearray(path.read_bytes())
    places: list[int] = rng.integers(0, len(data), int(rng.integers(1, 5))).tolist() if data else []
    for at in places:
        data[at] = int(rng.integers(256))
    path.write_bytes(bytes(data))
    return f"{path.name} bytes {places}"


def _cut(rng: np.random.Generator, header: pathlib.Path, signals: list[pathlib.Path]) -> str:
    path = _pick(rng, [header, *signals])
    data = path.read_bytes()
    size = int(_pick(rng, [0, 1, 10, 23, 100, len(data) // 2, max(len(data) - 1, 0), len(data) + 1, len(data) + 1000]))
    path.write_bytes(data[:size].ljust(size, b"\7"))
    return f"{path.name} to {size}"


def _file(rng: np.random.Generator, header: pathlib.Path, signals: list[pathlib.Path]) -> str:
    path, how = (
        _pick(rng, [header, *signals]),
        str(rng.choice(FILES)),
    )
    if how == "capitals":
        path.rename(path.with_name(path.name.upper()))
        return f"{path.name} {how}"
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how in ("loop", "device"):
        path.symlink_to(path.name if how == "loop" else "/dev/zero")
    return f"{path.name} {how}"


def _matrix(rng: np.random.Generator, header: pathlib.Path, signals: list[pathlib.Path]) -> str:
    """Puts another MATLAB file where the samples were."""
    if not signals:
        return "none"
    path, kind = signals[0], str(_pick(rng, MATRICES))
    values = np.zeros((len(NAMES), SAMPLES), np.int16)
    contents: dict[str, Any] = {
        "cell": np.array([values, "x"], dtype=object), "struct": {"data": values}, "text": "x" * 50, "val": values,
        "sparse": scipy.sparse.csc_array(values.astype(float)), "complex": values * 1j, "cube": values[None],
        "empty": values[:0], "scalar": 5.0, "double": values + 0.5, "nan": values * np.nan, "bool": values > 0,
    }  # fmt: skip
    named = {"a": 1.0, "b": 2.0, "c": 3.0} if kind == "three" else {"val": contents[kind]}
    version = "5" if kind in ("cell", "struct", "cube", "bool") or rng.random() < 0.5 else "4"
    compress = bool(rng.integers(2))
    scipy.io.savemat(path.with_suffix(".mat"), named, format=version, do_compression=compress and version == "5")
    if path.suffix != ".mat":
        path.with_suffix(".mat").replace(path)
    note = f"{kind} of version {version}"
    if rng.random() < 0.5:
        note += f", {_bytes(rng, path, None)}"
    return f"{path.name} {note}"


def _place(rng: np.random.Generator, header: pathlib.Path, _: Any) -> str:
    return _edit(rng, header, PLACES, 0)


def _field(rng: np.random.Generator, header: pathlib.Path, _: Any) -> str:
    return _edit(rng, header, NUMBERS, None)


def _signal(rng: np.random.Generator, header: pathlib.Path, signals: list[pathlib.Path]) -> str:
    return _bytes(rng, _pick(rng, signals), None) if signals else "none"


_MUTATIONS: dict[str, Callable[[np.random.Generator, pathlib.Path, list[pathlib.Path]], str]] = {
    "field": _field,
    "place": _place,
    "line": _line,
    "text": _text,
    "bytes": _bytes,
    "signal": _signal,
    "cut": _cut,
    "file": _file,
    "matrix": _matrix,
}
