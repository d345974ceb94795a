import csv
import json

import pytest

from benchmarks import yardstick
from data_builders import synthetic


@pytest.mark.slow
def test_smoke(tmp_path):
    synthetic.write(tmp_path / "raw", 160)
    database = tmp_path / "database.csv"
    with open(tmp_path / "raw/ptbxl_database.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(database, "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "strat_fold"])
        writer.writeheader()
        writer.writerows({**row, "strat_fold": 8 if i % 6 == 0 else 1 + i % 7} for i, row in enumerate(rows))
    arguments = [f"--raw_dir={tmp_path / 'raw/training'}", f"--ptbxl_database={database}", f"--workdir={tmp_path}"]
    found = yardstick.main([*arguments, "--only", "lrhnet2", "--window=256", "--epochs=2"])
    entry = found["networks"]["lrhnet2"]
    scores = [row["test_macro_average_precision"] for row in entry["history"]]
    assert len(scores) == 2 and entry["best"] == max(scores) and 0 < entry["best"] < 1
    assert entry["ratio"] == pytest.approx(entry["best"] / 0.30)
    held_out = {row["ecg_id"] for i, row in enumerate(rows) if i % 6 == 0}
    assert 0 < entry["test_records"] <= len(held_out)
    assert json.loads((tmp_path / "yardstick.json").read_text()) == json.loads(json.dumps(found))
