"""The TFDS builder of Challenge 2020."""

import os
from typing import Any

import tensorflow_datasets as tfds

from data_builders import builder
from data_builders.entries import Catalogue
from data_builders.physionet2020 import catalogue, download
from lrhnet_jax.ecg import leads
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.tasks import physionet2020


class Physionet2020(builder.WfdbBuilder):
    """Builds Challenge 2020, from an archive or a download."""

    name = "physionet2020"
    VERSION = tfds.core.Version("1.0.0")
    MAX_SIMULTANEOUS_DOWNLOADS = 16
    BUILDER_CONFIGS = builder.configs(preprocessing.OPTIONS)
    CLASSES = physionet2020.CLASSES
    LEADS = FILE_LEADS = leads.LEADS
    TABLES = ("ptbxl_database",)
    HOMEPAGE = download.HOMEPAGE
    DESCRIPTION = """12-lead ECGs of the PhysioNet/Computing in Cardiology Challenge 2020 with its 24 scored diagnoses
(equivalent ones merged), at 257 Hz, z-scored per record and lead, of whole length."""
    CITATION = """@article{perezalday2020classification,
  title={Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020},
  author={Perez Alday, Erick A and Gu, Annie and Shah, Amit J and Robichaux, Chad and Wong, An-Kwok Ian and
          Liu, Chengyu and Liu, Feifei and Rad, Ali Bahrami and Elola, Andoni and Seyedi, Salman and others},
  journal={Physiological Measurement}, volume={41}, number={12}, year={2020}, doi={10.1088/1361-6579/abc960}
}"""

    def __init__(self, *, ptbxl_database: str | os.PathLike[str] | None = None, **kwargs: Any):
        """Makes a builder.

        Args:
          ptbxl_database: PTB-XL's table of patients, if it is at hand.
          **kwargs: of builder.WfdbBuilder.
        """
        super().__init__(**kwargs)
        self._ptbxl_database = ptbxl_database

    def check(self) -> None:
        if self._raw_dir is not None:
            catalogue.find(self._raw_dir)
        if self._ptbxl_database is not None:
            catalogue.read_patients(self._ptbxl_database)

    def _catalogue(self, dl_manager: Any) -> tuple[str | os.PathLike[str], Catalogue]:
        raw_dir = self._raw_dir or download.fetch(dl_manager)
        return raw_dir, catalogue.read(raw_dir, self._ptbxl_database)


class Synthetic(Physionet2020):
    """The same over generated records (data_builders.synthetic), under a name that cannot be mistaken."""

    name = "synthetic"
    SYNTHETIC = True
