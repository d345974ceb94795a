"""Broken and hostile WFDB records: mutations of good ones, and what the reader makes of each; for `benchmarks.fuzz`.

Two outcomes are right: the record is rejected, naming its file, or it is read as wfdb reads it. Where wfdb stumbles
over something that the specification allows, it is asked again with a plain copy of the header.
"""

import pathlib
import tempfile
from typing import Any, NamedTuple

import numpy as np
import wfdb

from benchmarks.fuzz_mutations import mutate, write_bases
from lrhnet_jax.ecg.files import beside
from lrhnet_jax.ecg.lead_names import canonical_lead
from lrhnet_jax.ecg.wfdb import Header, RecordError, find_headers, read_header, read_signal
from lrhnet_jax.ecg.wfdb_header import MILLIVOLTS

__all__ = ["RIGHT", "attempt", "judge", "mutate", "write_bases"]

LEADS = ("I", "II")
RIGHT = ("rejected", "as wfdb reads it", "as wfdb reads it plainly written", "no record")


def attempt(case: pathlib.Path) -> list[tuple[pathlib.Path, Any]]:
    """Reads what is in a folder; returns paths, and of each its error, or its header and signal."""
    results: list[tuple[pathlib.Path, Any]] = []
    for path in find_headers(case):
        try:
            header = read_header(path)
            results.append((path, (header, read_signal(header, LEADS))))
        except RecordError as error:
            results.append((path, error))
    return results


def judge(results: list[tuple[pathlib.Path, Any]], base: pathlib.Path) -> tuple[str, str]:
    """Returns the outcome of an attempt, one of `RIGHT` or a fault, and what to say of it."""
    outcomes = [_judge_one(path, result, base) for path, result in results] or [("no record", "")]
    return min(outcomes, key=lambda outcome: outcome[0] in RIGHT)


def _judge_one(path: pathlib.Path, result: Any, base: pathlib.Path) -> tuple[str, str]:
    if isinstance(result, RecordError):
        known = result.path == str(path) and result.reason and "Error:" not in result.reason
        return ("rejected" if known else "rejected without a reason"), result.reason
    header, signal = result
    stumbled = "not asked"
    # wfdb 4.3 drops what is not ASCII ("1000/\N{MICRO SIGN}V" is volts to it), and reads an unused bit in format 311.
    if path.read_bytes().isascii() and all(spec.format != 311 for spec in header.signals):
        try:
            return _compare(header, signal, _theirs(path), "as wfdb reads it")
        except Exception as error:  # wfdb raises what it stumbles over
            stumbled = f"{type(error).__name__}: {error}"
    try:
        return _compare(header, signal, _theirs_plainly(header), "as wfdb reads it plainly written")
    except Exception as error:
        return "wfdb cannot read it", f"{stumbled}; plainly written, {type(error).__name__}: {error}"


def _compare(header: Header, signal: np.ndarray, theirs: "_Theirs", outcome: str) -> tuple[str, str]:
    for ours, lead in zip(signal.T, LEADS, strict=True):
        values = theirs.millivolts[lead]
        if len(values) != header.frames * header.per_frame:
            return "another length than wfdb's", f"{len(ours)} and {len(values)}"
        scale = np.abs(values).max()
        if not np.allclose(ours, values[: len(ours)], rtol=1e-5, atol=1e-6 * scale):
            return "other values than wfdb's", f"lead {lead}: {ours[:3]} and {values[:3]}"
    if not np.isclose(header.rate, theirs.rate, rtol=1e-5):
        return "another rate than wfdb's", f"{header.rate} and {theirs.rate}"
    return outcome, ""


class _Theirs(NamedTuple):
    """What wfdb reads: lead -> millivolts, at its own rate."""

    rate: float
    millivolts: dict[str, np.ndarray]


def _theirs(path: pathlib.Path) -> _Theirs:
    record = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
    names = [canonical_lead(name or "") for name in record.sig_name]
    columns = {lead: names.index(lead) for lead in LEADS}
    values = {
        lead: np.asarray(record.e_p_signal[i]) * MILLIVOLTS[(record.units[i] or "mV").casefold()]
        for lead, i in columns.items()
    }
    return _Theirs(record.fs * record.samps_per_frame[columns[LEADS[0]]], values)


def _theirs_plainly(header: Header) -> _Theirs:
    """What wfdb reads of a copy under plain names, with a header as it would write what ours says."""
    if header.segments:
        folder = header.path.parent
        parts = [read_header(beside(folder, f"{part.name}.hea")) for part in header.segments if part.frames]
        read = [_theirs_plainly(part) for part in parts]
        return _Theirs(read[0].rate, {lead: np.concatenate([one.millivolts[lead] for one in read]) for lead in LEADS})
    needed = {signal.file for signal in header.signals if canonical_lead(signal.lead) in LEADS}
    signals = [signal for signal in header.signals if signal.file in needed]
    files = list(dict.fromkeys(signal.file for signal in signals))
    with tempfile.TemporaryDirectory(prefix="lrhnet-plain-") as name:
        for i, file in enumerate(files):
            data = bytearray(beside(header.path.parent, file).read_bytes())
            spec = next(signal for signal in signals if signal.file == file)
            if spec.format == 311:
                data[spec.offset + 3 :: 4] = bytes(byte & 63 for byte in data[spec.offset + 3 :: 4])
            pathlib.Path(name, f"s{i}.dat").write_bytes(data)
        lines = [f"plain {len(signals)} {header.frame_rate!r} {header.frames}"]
        for i, s in enumerate(signals):
            storage = f"{s.format}x{s.per_frame}:{s.skew}+{s.offset}"
            numbers = f"{np.format_float_positional(s.gain, trim='-')}({s.baseline})/mV 16 0 {s.initial} 0 0"
            lines.append(f"s{files.index(s.file)}.dat {storage} {numbers} {canonical_lead(s.lead) or f'x{i}'}")
        pathlib.Path(name, "plain.hea").write_text("\n".join(lines) + "\n")
        return _theirs(pathlib.Path(name, "plain.hea"))
