"""A small archive in PhysioNet's layout, and PTB-XL's table of patients for it."""

import pytest

from tests.helpers.wfdb_files import AF, NSR, OLD_RBBB, RBBB, comments, write_record


@pytest.fixture
def archive(tmp_path):
    """A raw folder of three sources in PhysioNet's layout: 24 records to be built, 2 without a scored class."""
    raw = tmp_path / "raw"
    for i in range(12):
        labels = comments(NSR if i % 3 else AF, *([OLD_RBBB] if i % 4 == 0 else []), age="NaN" if i == 5 else 40 + i)
        write_record(raw / f"training/ptb-xl/g{i // 6 + 1}", f"HR{i + 1:05d}", comments=labels)
    for i in range(8):
        write_record(raw / "training/georgia/g1", f"E{i + 1:05d}", comments=comments(NSR if i % 2 else AF, "55827005"))
    for i in range(4):
        write_record(raw / "training/ptb/g1", f"S{i + 1:04d}", rate="1000", comments=comments(RBBB, sex="Unknown"))
    write_record(raw / "training/ptb/g1", "S0100", comments=comments())
    write_record(raw / "training/ptb/g1", "S0101", comments=comments("55827005"))
    return raw


@pytest.fixture
def ptbxl_database(tmp_path):
    """PTB-XL's table for `archive`: records 1 to 4 are one patient's, 12 is missing."""
    path = tmp_path / "ptbxl_database.csv"
    rows = [f"{i},{7 if i <= 4 else 100 + i}.0,60.0" for i in range(1, 12)]
    path.write_text("\n".join(["ecg_id,patient_id,age", *rows]) + "\n")
    return path
