"""What reads recordings loads neither JAX nor plots, and what few files need only when such a file comes."""

import subprocess
import sys

HEAVY = ("jax", "flax", "matplotlib", "wfdb", "pandas", "scipy", "soundfile", "tensorflow_datasets")


def test_the_reader_loads_numpy_alone():
    modules = "wfdb, lead_names, quality, recording, matlab, files"
    script = f"from lrhnet_jax.ecg import {modules}; import sys; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
