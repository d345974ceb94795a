"""Layers that convolutions are tried on, and XLA's own convolution."""

from jax import lax

LAYERS = {
    "lrhnet_stem": (64, 12, 16, 8, 1, (3, 4)),
    "lrhnet_stem_odd": (65, 2, 16, 8, 1, (3, 4)),
    "lrhnet_conv": (64, 16, 16, 8, 1, (3, 4)),
    "lrhnet_halving": (64, 16, 32, 8, 2, (3, 3)),
    "lrhnet_halving_odd": (65, 16, 32, 8, 2, (3, 3)),
    "lrhnet_shortcut": (64, 16, 32, 1, 2, (0, 0)),
    "lrhnet_shortcut_odd": (65, 16, 32, 1, 2, (0, 0)),
    "seresnet_stem": (96, 12, 64, 15, 2, (7, 7)),
    "seresnet_stem_odd": (97, 1, 64, 15, 2, (7, 7)),
    "seresnet_conv": (31, 8, 8, 7, 1, (3, 3)),
    "seresnet_halving": (48, 8, 16, 7, 2, (3, 3)),
    "seresnet_halving_odd": (47, 8, 16, 7, 2, (3, 3)),
    "cnn1d_stem": (512, 3, 8, 80, 8, (3, 3)),
    "cnn1d_stem_ragged": (509, 3, 8, 80, 8, (3, 3)),
    "cnn1d_conv": (33, 8, 12, 4, 1, (3, 3)),
    "three_taps": (20, 4, 6, 3, 1, (1, 1)),
    "shorter_than_stride": (50, 3, 5, 3, 8, (2, 9)),
    "no_padding": (41, 3, 5, 8, 3, (0, 0)),
    "one_output": (8, 3, 5, 8, 2, (0, 0)),
}


def plain(x, kernel, stride, padding):
    return lax.conv_general_dilated(x, kernel, (stride,), [padding], dimension_numbers=("NWC", "WIO", "NWC"))
