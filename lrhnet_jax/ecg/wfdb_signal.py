"""The signals of a WFDB record of one segment: from the files beside its header to millivolts.

A file is read only as far as its header says, after its size has been seen to fit, and only if a signal in it is asked
for; so are checksums, units and missing samples. What is missing becomes NaN.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from lrhnet_jax.ecg import files, matlab
from lrhnet_jax.ecg import wfdb_formats as formats
from lrhnet_jax.ecg.wfdb_fields import Header, SignalSpec
from lrhnet_jax.errors import UserError

HIGHEST = 1000.0  # mV; an amplifier clips long before, so that a higher value is one of a wrong gain or baseline
_EXACT = 2**23  # float32 tells integers up to it apart
_UNCLAIMED = 2**24  # values that a record may have whatever the size of its files
_PER_BYTE = 32  # values that a byte of a file may become: more is not a recording
_PLAIN_MATRICES = {30: 16, 20: 32}  # MATLAB version 4, little-endian: type of a matrix -> WFDB's format of its values


def check_claim(values: int, size: int) -> None:
    """Raises UserError if a record claims more values than files of `size` bytes can hold, whatever their format."""
    if values > max(_UNCLAIMED, _PER_BYTE * size):
        raise UserError(f"claims {values:,} values, which {size:,} bytes of signal files do not hold")


def count_frames(header: Header) -> int:
    """Returns how many frames the first signal file holds, for a header that does not say.

    Raises:
      UserError: if it cannot be told.
    """
    group = group_of(header, header.signals[0].file)
    first, path = group[0], _path(header, group[0].file)
    try:
        if is_matlab(path) and not _is_plain_matrix(files.read_regular(path, 20), first):
            return _matrix(path).values.shape[1]
        if first.format in formats.COMPRESSED:
            return (formats.flac_shape(files.read_regular(path))[0] - first.offset) // first.per_frame
        samples = formats.capacity(_format(first), files.file_size(path) - first.offset)
        return samples // sum(signal.per_frame for signal in group)
    except OSError as error:
        raise UserError(f"signal file {path.name}: {error.strerror}") from error


def read_columns(header: Header, columns: Sequence[int]) -> np.ndarray:
    """Reads signals.

    Args:
      header: of a record of one segment.
      columns: indices of `header.signals`.

    Returns:
      (header.samples, len(columns)) float32, millivolts, NaN where a sample is missing.

    Raises:
      UserError: if a file cannot be read or does not fit the header, or a signal cannot be used.
    """
    chosen = [header.signals[i] for i in columns]
    for signal in chosen:
        if signal.problem:
            raise UserError(signal.problem)
        if signal.per_frame != header.per_frame:
            raise UserError(
                f"has {signal.per_frame} samples a frame of lead {signal.lead}, {header.per_frame} of others: leads of "
                "several rates are not read together"
            )
    result = None
    for name in dict.fromkeys(signal.file for signal in chosen):
        places = [place for place, signal in enumerate(chosen) if signal.file == name]
        values, missing = stored(header, name, [columns[place] for place in places])
        specs = [chosen[place] for place in places]
        _verify_sums(header, values, specs)
        part = _shifted(header, millivolts(values, specs, missing), specs)
        if len(places) == len(chosen):
            return part
        if result is None:
            result = np.empty((header.samples, len(columns)), np.float32)
        result[:, places] = part
    assert result is not None  # some signal was asked for
    return result


def stored(header: Header, name: str, columns: Sequence[int]) -> tuple[np.ndarray, int | None]:
    """The samples of signals that share a file in ADC units, (header.frames * per_frame, len(columns)); what marks a
    missing one."""
    group = group_of(header, name)
    first, format, path = group[0], _format(group[0]), _path(header, name)
    inside = [i - header.signals.index(first) for i in columns]
    width = sum(signal.per_frame for signal in group)
    compressed = format in formats.COMPRESSED
    need = first.offset + (0 if compressed else formats.size(format, header.frames * width))
    try:
        size = files.file_size(path)
        start = 0 if compressed or is_matlab(path) else first.offset
        data = files.read_regular(path, size if compressed else need - start, start)
        if is_matlab(path):
            if not _is_plain_matrix(data, first):
                return _other_matrix(header, path, group, inside)
            rows, matrix_columns = np.frombuffer(data, "<i4", 2, 4).tolist()
            _check_shape(header, group, rows, matrix_columns)
    except OSError as error:
        raise UserError(f"signal file {path.name}: {error.strerror}") from error
    if compressed:
        return _flac(header, data, group, inside), formats.FORMATS[format].missing
    check_length(header, path, first, width, start + len(data))
    if header.described > len(header.signals) and size != need:
        raise _wrong_count(header)
    flat = formats.decode(data, format, header.frames * width, first.offset - start)
    values = _columns(flat.reshape(header.frames, width), group, inside)
    if format == formats.DIFFERENCES:
        initial = [group[i].initial for i in inside]
        return np.cumsum(values, axis=0, dtype=np.int64) + np.array(initial, np.int64), None
    return values, formats.FORMATS[format].missing


def _columns(frames: np.ndarray, group: Sequence[SignalSpec], inside: Sequence[int]) -> np.ndarray:
    """(frames, samples of all signals of a file) -> (frames * per_frame, chosen signals)."""
    if frames.shape[1] == len(group):  # one sample a frame
        return frames if list(inside) == list(range(len(group))) else frames[:, list(inside)]
    starts = np.cumsum([0, *(signal.per_frame for signal in group)])
    return np.stack([frames[:, starts[i] : starts[i + 1]].ravel() for i in inside], axis=1)


def _flac(header: Header, data: bytes, group: Sequence[SignalSpec], inside: Sequence[int]) -> np.ndarray:
    samples, channels = formats.flac_shape(data)
    first = group[0]
    if channels != len(group) or any(signal.per_frame != first.per_frame for signal in group):
        raise UserError(f"wrong lead count: {channels} in the signal file, {len(group)} in the header")
    need = header.frames * first.per_frame
    if samples - first.offset < need:
        raise UserError(f"short signal: {max(samples - first.offset, 0)} of {need} samples")
    check_claim(need * channels, len(data))
    return formats.decode_flac(data, first.format, need, first.offset)[:, list(inside)]


def _is_plain_matrix(data: bytes, first: SignalSpec) -> bool:
    """Whether a MATLAB file's samples lie in it as those of a WFDB file do, behind the header's offset.

    That is, MATLAB version 4, a matrix (leads x samples) of int16 or int32: the Challenges' files.
    """
    if len(data) < 20:
        return False
    kind, _, _, imaginary, length = np.frombuffer(data, "<i4", 5).tolist()
    return _PLAIN_MATRICES.get(kind) == first.format and not imaginary and first.offset == 20 + length


def _other_matrix(
    header: Header, path: pathlib.Path, group: Sequence[SignalSpec], inside: Sequence[int]
) -> tuple[np.ndarray, int | None]:
    """The samples of any other MATLAB file, and what marks a missing one: it depends on the type of the matrix."""
    matrix = _matrix(path)
    if matrix.offset and matrix.dtype in (np.int16, np.int32) and matrix.offset != group[0].offset:
        raise UserError(f"samples begin at byte {matrix.offset} of {path.name}, {group[0].offset} in the header")
    _check_shape(header, group, *matrix.values.shape)
    values = matrix.values.T[:, list(inside)]
    missing = formats.FORMATS[group[0].format].missing
    if np.issubdtype(values.dtype, np.integer):
        if (
            matrix.dtype.kind == "u"
            and values.size
            and values.max() >= 2 ** (formats.FORMATS[group[0].format].bits - 1)
        ):
            raise UserError(f"{path.name} has values that format {group[0].format} of the header cannot hold")
        return values, int(np.iinfo(matrix.dtype).min) if matrix.dtype.kind == "i" else None
    finite = np.isfinite(values)
    if not np.array_equal(values[finite], np.trunc(values[finite])):
        raise UserError("samples are no whole ADC units")
    return np.where(finite, values, np.nan), missing


def _matrix(path: pathlib.Path) -> matlab.Variable:
    try:
        return matlab.read_matrix(files.read_regular(path))
    except UserError as error:
        raise UserError(f"unreadable signal file {path.name}: it {error}") from error


def _check_shape(header: Header, group: Sequence[SignalSpec], rows: int, columns: int) -> None:
    """Compares the shape of a matrix with the header."""
    if header.described > len(header.signals) and rows != len(header.signals):
        raise _wrong_count(header)
    if rows != len(group):
        raise UserError(f"wrong lead count: {rows} in the signal file, {len(group)} in the header")
    if header.per_frame > 1:
        raise UserError("has several samples a frame, which a matrix has not")
    if columns < header.frames:
        raise UserError(f"short signal: {columns} of {header.frames} samples")
    if columns > header.frames:
        raise UserError(f"{columns} samples in the signal file, {header.frames} in the header")


def _wrong_count(header: Header) -> UserError:
    return UserError(f"wrong lead count: {len(header.signals)} announced, {header.described} described")


def group_of(header: Header, name: str) -> list[SignalSpec]:
    """The signals that share a file; their entries are consecutive, and agree in what a file can have only one of."""
    places = [i for i, signal in enumerate(header.signals) if signal.file == name]
    group = [header.signals[i] for i in places]
    if places[-1] - places[0] + 1 != len(places):
        raise UserError(f"unreadable header (the signals in {name[:100]!a} do not follow one another)")
    if len({(signal.format, signal.offset) for signal in group}) > 1:
        raise UserError(f"unreadable header (several formats or offsets in {name[:100]!a})")
    return group


def _format(signal: SignalSpec) -> int:
    if signal.format not in formats.FORMATS:
        raise UserError(f"unreadable header (no storage format {signal.format})")
    return signal.format


def check_length(header: Header, path: pathlib.Path, first: SignalSpec, width: int, size: int) -> None:
    """Raises UserError if a file of `size` bytes is shorter than the header says.

    Args:
      first: the first signal of the file; width: samples of all of its signals in a frame.
    """
    if size < first.offset + formats.size(first.format, header.frames * width):
        have = formats.capacity(first.format, size - first.offset) // width
        raise UserError(f"short signal: {have} of {header.frames} samples in {path.name}; copy it again")


def _path(header: Header, name: str) -> pathlib.Path:
    return files.beside(header.path.parent, name)


def is_matlab(path: pathlib.Path) -> bool:
    return path.name[-4:].casefold() == ".mat"


def _verify_sums(header: Header, values: np.ndarray, signals: Sequence[SignalSpec]) -> None:
    """Compares samples, before they are moved, with the header's checksums, if it has them."""
    if not header.summed:
        return
    if values.dtype.itemsize == 2 and values.dtype.isnative:
        sums = np.add.reduce(values, 0, dtype=values.dtype)  # wraps around, as the checksum does
    elif values.dtype.kind == "i":
        sums = np.add.reduce(values, 0, dtype=np.int64)
    elif not np.isnan(values).any():
        sums = values.sum(0, dtype=np.float64) % 65536
    else:
        return
    check_sums(sums, signals)


def check_sums(sums: np.ndarray, signals: Sequence[SignalSpec]) -> None:
    """Raises UserError if sums of all samples, (signals,), modulo 2**16, are not the header's checksums."""
    wrong = [
        signal.lead
        for signal, total in zip(signals, sums.tolist(), strict=True)
        if signal.checksum is not None and (signal.checksum - int(total)) % 65536
    ]
    if wrong:
        raise UserError(f"checksum mismatch in lead {', '.join(wrong)}")


def millivolts(values: np.ndarray, signals: Sequence[SignalSpec], missing: int | None) -> np.ndarray:
    """(samples, signals) in ADC units -> float32; the baseline is taken off before large numbers lose their digits."""
    gain = np.array([signal.gain for signal in signals])
    baseline = [signal.baseline for signal in signals]
    known = values if values.dtype.kind in "iu" else values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if known.size else (0, 0)
    reach = np.array([max(abs(int(low) - zero), abs(int(high) - zero)) for zero in baseline], np.float64)
    with np.errstate(all="ignore"):  # an overflow is out of range
        if values.dtype.itemsize <= 2 and reach.max() < _EXACT:
            result = values.astype(np.float32)
            result -= np.array(baseline, np.float32)
            result /= gain.astype(np.float32)
        else:
            result = ((values - np.array(baseline, np.float64)) / gain).astype(np.float32)
    if low == missing:
        result[values == missing] = np.nan
    if (reach > HIGHEST * gain).any() or reach.max() >= _EXACT:
        _check_range(result, values, signals)
    return result


def _check_range(result: np.ndarray, values: np.ndarray, signals: Sequence[SignalSpec]) -> None:
    """Raises UserError for a lead that is not one of a body, or whose samples have all become one value."""
    for signal, ours, stored in zip(signals, result.T, values.T, strict=True):
        there = ~np.isnan(ours)
        ours, stored = ours[there], stored[there]
        if not len(ours):
            continue
        highest = np.abs(ours).max()
        if not highest <= HIGHEST:
            raise UserError(f"lead {signal.lead} reaches {highest:.3g} mV: its gain or its baseline makes no sense")
        if ours.min() == ours.max() and stored.min() != stored.max():
            raise UserError(
                f"lead {signal.lead} is lost in its offset of {ours[0]:.6g} mV: its gain or its baseline makes no sense"
            )


def _shifted(header: Header, signal: np.ndarray, signals: Sequence[SignalSpec]) -> np.ndarray:
    """Moves signals that lag behind the others to where they belong; the record ends where the first of them ends."""
    if header.samples == len(signal):
        return signal
    starts = [spec.skew * header.per_frame for spec in signals]
    return np.stack([signal[start : start + header.samples, i] for i, start in enumerate(starts)], axis=1)
