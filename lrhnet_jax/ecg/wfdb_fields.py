"""What a WFDB header says of a record, its signals and its segments."""

import dataclasses
import math
import pathlib
from typing import NamedTuple

from lrhnet_jax.ecg.lead_names import canonical_lead

DEFAULT_GAIN = 200.0  # ADC units per millivolt, of the specification; a gain of 0 means it too
NO_FILE = "~"  # of a layout segment's signals, and of a gap


class SignalSpec(NamedTuple):
    """What a header says of a signal.

    Attributes:
      file: that holds it, below the header's folder.
      format: of storage, a key of `wfdb_formats.FORMATS`; another number means that it cannot be read.
      per_frame: samples in a frame.
      skew: frames by which it lags behind the others.
      offset: bytes before the first sample of the file.
      gain: ADC units per millivolt.
      baseline: ADC units at 0 mV.
      initial: value before the first difference, in format 8.
      checksum: the sum of the samples, modulo 2**16; None if the header does not say.
      lead: its name; "" if the header does not say.
      problem: why it cannot be used, or "".
    """

    file: str
    format: int
    per_frame: int
    skew: int
    offset: int
    gain: float = DEFAULT_GAIN
    baseline: int = 0
    initial: int = 0
    checksum: int | None = None
    lead: str = ""
    problem: str = ""


class Segment(NamedTuple):
    """A part of a record: the name of a record in the same folder, or `NO_FILE` for a gap, and its frames."""

    name: str
    frames: int


@dataclasses.dataclass(frozen=True)
class Header:
    """What a .hea file says of a record.

    Attributes:
      path: the .hea file.
      record_id: its name, as "HR00001"; bytes that are not UTF-8 are escaped.
      source: folder name below training/ ("ptb-xl"); "" outside of that layout.
      leads: names of the signals as in the file.
      rate: Hz, of the ECG.
      samples: number of samples of each lead.
      age: years as in the file (300 is PTB-XL's "over 89"), or None.
      sex: as in the file, or None.
      codes: SNOMED CT codes of the diagnoses, scored or not.
      patient: from a "#Patient: ..." line, or None.
      signals: how the signals are stored, in the order of `leads`.
      segments: of a record in several parts; else empty.
      frame_rate: frames a second.
      frames: of the signal files; a frame holds one sample or several of each signal.
      per_frame: samples of an ECG lead in a frame.
      summed: whether there are checksums to compare with. Some writers put 0 for "not computed": a header of zeros is
        taken so, a zero among other numbers is a checksum.
      described: how many signals have a line; those beyond the announced number are not read.
    """

    path: pathlib.Path
    record_id: str
    source: str
    leads: tuple[str, ...]
    rate: float
    samples: int
    age: float | None
    sex: str | None
    codes: tuple[str, ...]
    patient: str | None = None
    signals: tuple[SignalSpec, ...] = dataclasses.field(default=(), compare=False, repr=False)
    segments: tuple[Segment, ...] = dataclasses.field(default=(), compare=False, repr=False)
    frame_rate: float = dataclasses.field(default=0.0, compare=False, repr=False)
    frames: int = dataclasses.field(default=0, compare=False, repr=False)
    per_frame: int = dataclasses.field(default=1, compare=False, repr=False)
    summed: bool = dataclasses.field(default=False, compare=False, repr=False)
    described: int = dataclasses.field(default=0, compare=False, repr=False)

    def with_signals(self, signals: tuple[SignalSpec, ...], described: int) -> "Header":
        """Returns the header with its signals, and with the rate and length of its ECG.

        Where signals have several numbers of samples a frame, that of the leads counts, or the highest if none is one.
        """
        ecg = [signal.per_frame for signal in signals if canonical_lead(signal.lead)]
        per_frame = max(ecg or [signal.per_frame for signal in signals])
        rate = self.frame_rate * per_frame
        # Rates of frames have few digits: 256 samples at 0.976562 Hz are 250 Hz.
        if math.isfinite(rate) and abs(rate - round(rate)) < 1e-6 * rate:
            rate = float(round(rate))
        return dataclasses.replace(
            self,
            leads=tuple(signal.lead for signal in signals),
            rate=rate,
            samples=_samples(signals, self.frames, per_frame),
            signals=signals,
            per_frame=per_frame,
            summed=self.frames > 0 and any(signal.checksum for signal in signals),
            described=described,
        )

    def with_frames(self, frames: int) -> "Header":
        """Returns the header of a record of so many frames."""
        return dataclasses.replace(self, frames=frames, samples=_samples(self.signals, frames, self.per_frame))


def _samples(signals: tuple[SignalSpec, ...], frames: int, per_frame: int) -> int:
    """Where signals lag behind others, the end of the record does not have all of them."""
    return max(frames - max(signal.skew for signal in signals), 0) * per_frame
