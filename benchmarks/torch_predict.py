"""What a user would write without this project: WFDB records answered by wfdb, SciPy and PyTorch, into a CSV.

    python -m benchmarks.torch_predict OUT.csv RECORD.hea...

The same arithmetic as the model dx24-2, two leads, with random weights: for `benchmarks.predict`, which runs it.
"""

import csv
import sys

import numpy as np
import scipy.signal
import torch
import wfdb

from benchmarks.torch_models import LRHNetWide

LEADS, RATE, WINDOW = ("I", "II"), 257, 2048


def main(output: str, *paths: str) -> None:
    model = LRHNetWide(len(LEADS)).eval()
    sections = scipy.signal.butter(4, (0.5, 40), btype="bandpass", output="sos", fs=RATE)
    with open(output, "w", newline="") as file, torch.inference_mode():
        table = csv.writer(file)
        for path in paths:
            record = wfdb.rdrecord(path.removesuffix(".hea"))
            signal = record.p_signal[:, [record.sig_name.index(lead) for lead in LEADS]]
            signal = scipy.signal.resample_poly(signal, RATE, int(record.fs), axis=0)
            signal = scipy.signal.sosfiltfilt(sections, signal, axis=0)
            signal = (signal - signal.mean(0)) / signal.std(0)
            starts = np.linspace(0, len(signal) - WINDOW, -(-len(signal) // WINDOW)).round().astype(int)
            for first in range(0, len(starts), 64):
                windows = np.stack([signal[start : start + WINDOW] for start in starts[first : first + 64]])
                batch = torch.from_numpy(windows.transpose(0, 2, 1).astype(np.float32))
                probabilities = model(batch, torch.zeros(len(batch), 5)).sigmoid()
                for start, row in zip(starts[first:], probabilities.tolist(), strict=False):
                    table.writerow([path, start / RATE, *row])


if __name__ == "__main__":
    main(*sys.argv[1:])
