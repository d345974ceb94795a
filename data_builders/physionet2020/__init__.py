"""The PhysioNet/Computing in Cardiology Challenge 2020 as a TFDS data set: 43,101 ECGs of 12 leads, 24 diagnoses.

catalogue.py reads the headers and decides who is in which fold, builder.py makes a TFDS data set of them, download.py
gets the archive.
"""

from data_builders.physionet2020.builder import Physionet2020, Synthetic

__all__ = ["Physionet2020", "Synthetic"]
