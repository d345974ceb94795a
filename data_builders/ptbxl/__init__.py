"""PTB-XL as a TFDS data set: 21,799 ECGs of 12 leads and 10 s, five diagnostic superclasses.

catalogue.py reads the headers and PTB-XL's tables and decides who is in which fold, builder.py makes a TFDS data set of
them. The archive is not downloaded: PhysioNet has it in one file.
"""

from data_builders.ptbxl.builder import Ptbxl, SyntheticPtbxl

__all__ = ["Ptbxl", "SyntheticPtbxl"]
