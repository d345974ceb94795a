"""The PhysioNet/Computing in Cardiology Challenge 2017 as a TFDS data set: 8,528 ECGs of one lead, four classes.

catalogue.py reads the records and their labels and decides who is in which fold, builder.py makes a TFDS data set of
them. The archive is not downloaded: PhysioNet has it in one file.
"""

from data_builders.physionet2017.builder import Physionet2017, SyntheticPhysionet2017

__all__ = ["Physionet2017", "SyntheticPhysionet2017"]
