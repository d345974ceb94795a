"""The TFDS builder of PTB-XL."""

import os
from typing import Any

import tensorflow_datasets as tfds

from data_builders import builder
from data_builders.entries import Catalogue
from data_builders.ptbxl import catalogue
from lrhnet_jax.ecg import leads
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.tasks import ptbxl, ptbxl_table


class Ptbxl(builder.WfdbBuilder):
    """Builds PTB-XL from an archive: the 500 Hz records, resampled."""

    name = "ptbxl"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = builder.configs(preprocessing.OPTIONS)
    CLASSES = ptbxl.CLASSES
    LEADS = FILE_LEADS = leads.LEADS
    TABLES = ("ptbxl_database", "scp_statements")
    PUBLISHED_FOLDS = True
    HOMEPAGE = ptbxl_table.HOMEPAGE
    DESCRIPTION = """12-lead ECGs of 10 s of PTB-XL with the five superclasses of their diagnoses, z-scored per record
and lead."""
    CITATION = """@article{wagner2020ptbxl,
  title={{PTB-XL}, a large publicly available electrocardiography dataset},
  author={Wagner, Patrick and Strodthoff, Nils and Bousseljot, Ralf-Dieter and Kreiseler, Dieter and Lunze, Fatima I and
          Samek, Wojciech and Schaeffter, Tobias},
  journal={Scientific Data}, volume={7}, number={1}, year={2020}, doi={10.1038/s41597-020-0495-6}
}"""

    def __init__(
        self,
        *,
        ptbxl_database: str | os.PathLike[str] | None = None,
        scp_statements: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ):
        """Makes a builder.

        Args:
          ptbxl_database: PTB-XL's table of records; None takes the one in raw_dir.
          scp_statements: its table of statements; None takes the built-in superclasses.
          **kwargs: of builder.WfdbBuilder.
        """
        super().__init__(**kwargs)
        self._tables = ptbxl_database, scp_statements

    def check(self) -> None:
        catalogue.find(self._raw_dir, *self._tables)

    def _catalogue(self, dl_manager: Any) -> tuple[str | os.PathLike[str], Catalogue]:
        read = catalogue.read(self._raw_dir, *self._tables)  # raises for None: there is no download
        return str(self._raw_dir), read


class SyntheticPtbxl(Ptbxl):
    """The same over generated records (data_builders.synthetic), under a name that cannot be mistaken."""

    name = "synthetic_ptbxl"
    SYNTHETIC = True
