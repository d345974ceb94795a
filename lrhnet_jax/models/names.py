"""Which networks there are; this alone imports neither JAX nor Flax."""

from typing import Any

# A network's class, or the module of this folder and the class in it: one line adds a network.
MODELS: dict[str, Any] = {
    "lrhnet": "lrhnet:LRHNet",
    "seresnet": "seresnet:SEResNet",
    "cnn1d": "cnn1d:CNN1D",
    "resnet34": "resnet34:ResNet34",
    "xresnet1d": "xresnet1d:XResNet1D",
    "lrhnet_wide": "lrhnet_wide:LRHNetWide",
}
NAMES = tuple(MODELS)
