"""The TFDS builder of CPSC 2018."""

import os
from typing import Any

import tensorflow_datasets as tfds

from data_builders import builder
from data_builders.cpsc2018 import catalogue
from data_builders.entries import Catalogue
from lrhnet_jax.ecg import leads
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.tasks import cpsc2018


class Cpsc2018(builder.WfdbBuilder):
    """Builds the China Physiological Signal Challenge 2018 from Challenge 2020's archive."""

    name = "cpsc2018"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = builder.configs(preprocessing.OPTIONS)
    CLASSES = cpsc2018.CLASSES
    LEADS = FILE_LEADS = leads.LEADS
    HOMEPAGE = catalogue.HOMEPAGE
    DESCRIPTION = """12-lead ECGs of the China Physiological Signal Challenge 2018 with its nine classes, z-scored per
record and lead, of whole length."""
    CITATION = """@article{liu2018cpsc,
  title={An open access database for evaluating the algorithms of electrocardiogram rhythm and morphology abnormality
         detection},
  author={Liu, Feifei and Liu, Chengyu and Zhao, Lina and Zhang, Xiangyu and Wu, Xiaoling and Xu, Xiaoyan and
          Liu, Yulin and Ma, Caiyun and Wei, Shoushui and He, Zhiqiang and Li, Jianqing and Ng Yin Kwee, Eddie},
  journal={Journal of Medical Imaging and Health Informatics}, volume={8}, number={7}, year={2018},
  doi={10.1166/jmihi.2018.2442}
}"""

    def check(self) -> None:
        catalogue.find(self._raw_dir)

    def _catalogue(self, dl_manager: Any) -> tuple[str | os.PathLike[str], Catalogue]:
        read = catalogue.read(self._raw_dir)  # raises for None: there is no download
        return str(self._raw_dir), read
