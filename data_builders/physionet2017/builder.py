"""The TFDS builder of Challenge 2017."""

import os
from typing import Any

import tensorflow_datasets as tfds

from data_builders import builder
from data_builders.entries import Catalogue
from data_builders.physionet2017 import catalogue
from lrhnet_jax.ecg.leads import SAMPLE_RATE
from lrhnet_jax.ecg.preprocess import Preprocess
from lrhnet_jax.tasks import physionet2017

# The records' own rate comes first: the code that Hannun et al. published for this Challenge takes it as it is. The
# recordings of their paper have 200 Hz, the 12-lead sets here 257 Hz.
OPTIONS = {
    "300hz": Preprocess(rate=300.0),
    "200hz": Preprocess(rate=200.0),
    "257hz": Preprocess(rate=float(SAMPLE_RATE)),
}


class Physionet2017(builder.WfdbBuilder):
    """Builds Challenge 2017 from an archive. The lead is I: left arm less right arm, of a hand-held device."""

    name = "physionet2017"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = builder.configs(OPTIONS)
    CLASSES = physionet2017.CLASSES
    LEADS = ("I",)
    FILE_LEADS = (catalogue.LEAD,)
    HOMEPAGE = catalogue.HOMEPAGE
    DESCRIPTION = """Single-lead ECGs of 9 to 61 s of the PhysioNet/Computing in Cardiology Challenge 2017, each of them
normal, atrial fibrillation, other rhythm or noisy; z-scored per record, of whole length."""
    CITATION = """@inproceedings{clifford2017af,
  title={{AF} classification from a short single lead {ECG} recording: the {PhysioNet/Computing in Cardiology
         Challenge} 2017},
  author={Clifford, Gari D and Liu, Chengyu and Moody, Benjamin and Lehman, Li-wei H and Silva, Ikaro and Li, Qiao and
          Johnson, Alistair E and Mark, Roger G},
  booktitle={Computing in Cardiology}, volume={44}, year={2017}, doi={10.22489/CinC.2017.065-469}
}"""

    def check(self) -> None:
        catalogue.find(self._raw_dir)

    def _catalogue(self, dl_manager: Any) -> tuple[str | os.PathLike[str], Catalogue]:
        read = catalogue.read(self._raw_dir)  # raises for None: there is no download
        return str(self._raw_dir), read


class SyntheticPhysionet2017(Physionet2017):
    """The same over generated records (data_builders.synthetic), under a name that cannot be mistaken."""

    name = "synthetic_physionet2017"
    SYNTHETIC = True
