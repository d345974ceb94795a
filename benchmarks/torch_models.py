"""The networks in PyTorch, to compare ours with; state_dict keys as the reference has them, for those it has.

Signals are (batch, leads, time). `forward` returns the logits. Dropout is off unless asked for: random numbers differ.
"""

import torch
from torch import nn


def same_length(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return x[..., : like.shape[-1]]


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.fc(x.mean(-1)).unsqueeze(-1)


class LRHBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        halve = inputs != outputs
        self.conv1 = nn.Conv1d(inputs, outputs, 8, 2 if halve else 1, padding=3 if halve else "same")
        self.bn1 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, 8, padding="same")
        self.se = SqueezeExcite(outputs, 8)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.downsample = nn.Conv1d(inputs, outputs, 1, 2) if halve else None

    def forward(self, x):
        y = self.bn1(self.conv1(x).relu())
        y = self.se(self.conv2(y))
        if self.downsample is not None:
            x = same_length(self.downsample(x), y)
        return self.bn2((x + y).relu())


class LRHNet(nn.Module):
    def __init__(self, leads: int, num_classes: int = 24, head_relu: bool = True):
        super().__init__()
        self.conv1 = nn.Conv1d(leads, 16, 8, padding="same")
        self.layer1 = nn.Sequential(LRHBlock(16, 16))
        self.layer2 = nn.Sequential(LRHBlock(16, 32))
        self.layer3 = nn.Sequential(LRHBlock(32, 64))
        self.fc = nn.Linear(5, 10)
        self.fc1 = nn.Linear(74, 128)
        self.fc2 = nn.Linear(128, num_classes)
        self.head_relu = head_relu

    def forward(self, signal, demographics):
        x = self.layer3(self.layer2(self.layer1(self.conv1(signal).relu())))
        x = self.fc1(torch.cat([self.fc(demographics), x.mean(-1)], 1))
        return self.fc2(x.relu() if self.head_relu else x)


class SEBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 7, stride, 3, bias=False)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(outputs, outputs, 7, 1, 3, bias=False)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.se = SqueezeExcite(outputs, 16)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv1d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x):
        y = self.dropout(self.bn1(self.conv1(x)).relu())
        y = self.se(self.bn2(self.conv2(y)))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class SEResNet(nn.Module):
    def __init__(self, leads: int, num_classes: int = 24, dropout: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv1d(leads, 64, 15, 2, 7, bias=False)
        self.bn1 = nn.BatchNorm1d(64)
        self.maxpool = nn.MaxPool1d(3, 2, 1)
        inputs = 64
        for index, (outputs, stride) in enumerate([(64, 1), (128, 2), (256, 2), (512, 2)], start=1):
            blocks = nn.Sequential(SEBlock(inputs, outputs, stride, dropout), SEBlock(outputs, outputs, 1, dropout))
            setattr(self, f"layer{index}", blocks)
            inputs = outputs
        self.fc1 = nn.Linear(5, 10)
        self.fc = nn.Linear(522, num_classes)
        initialise_convolutions(self)

    def forward(self, signal, demographics):
        x = self.maxpool(self.bn1(self.conv1(signal)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.cat([self.fc1(demographics), x.mean(-1)], 1))


class WideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, squeeze_excite: bool):
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 5, stride, 2, bias=False)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, 5, 1, 2, bias=False)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.se = SqueezeExcite(outputs, 8) if squeeze_excite else nn.Identity()
        self.downsample = nn.Identity()
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv1d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.se(self.bn2(self.conv2(y))) + self.downsample(x)).relu()


class LRHNetWide(nn.Module):
    def __init__(self, leads: int, num_classes: int = 24, width: int = 1, squeeze_excite: bool = False):
        super().__init__()
        sizes = [width * channels for channels in (16, 16, 24, 32, 48, 64)]
        self.conv1 = nn.Conv1d(leads, sizes[0], 15, 2, 7, bias=False)
        self.bn1 = nn.BatchNorm1d(sizes[0])
        self.maxpool = nn.MaxPool1d(2)
        for index in range(5):
            block = WideBlock(sizes[index], sizes[index + 1], 2 if index else 1, squeeze_excite)
            setattr(self, f"layer{index + 1}", nn.Sequential(block))
        self.fc1 = nn.Linear(5, 10)
        self.fc = nn.Linear(10 + 2 * sizes[-1], num_classes)
        initialise_convolutions(self)

    def forward(self, signal, demographics):
        x = self.maxpool(self.bn1(self.conv1(signal)).relu())
        x = self.layer5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return self.fc(torch.cat([self.fc1(demographics), x.mean(-1), x.amax(-1)], 1))


class CNNStage(nn.Module):
    def __init__(self, inputs: int, outputs: int, taps: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, taps, stride, 3, bias=False)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.maxpool = nn.MaxPool1d(4)

    def forward(self, x):
        return self.maxpool(self.bn1(self.conv1(x))).relu()


class CNN1D(nn.Module):
    def __init__(self, leads: int, num_classes: int = 24, logit_dropout: float = 0.0):
        super().__init__()
        self.layer1 = nn.Sequential(CNNStage(leads, 128, 80, 8))
        self.layer2 = nn.Sequential(CNNStage(128, 256, 4, 1))
        self.layer3 = nn.Sequential(CNNStage(256, 256, 4, 1))
        self.layer4 = nn.Sequential(CNNStage(256, 512, 4, 1))
        self.avgpool = nn.AvgPool1d(2)
        self.fc1 = nn.Linear(5, 10)
        self.fc = nn.Linear(522, num_classes)
        self.dropout = nn.Dropout(logit_dropout)
        initialise_convolutions(self)

    def forward(self, signal, demographics):
        x = self.layer4(self.layer3(self.layer2(self.layer1(signal))))
        x = self.avgpool(x).flatten(1)
        return self.dropout(self.fc(torch.cat([self.fc1(demographics), x], 1)))


class PreactivationBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, first: bool, dropout: float):
        super().__init__()
        self.bn1 = None if first else nn.BatchNorm1d(inputs)
        self.conv1 = nn.Conv1d(inputs, outputs, 16, stride, padding="same" if stride == 1 else 7)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(outputs, outputs, 16, padding="same")
        self.shortcut = nn.MaxPool1d(stride)

    def forward(self, x):
        y = x if self.bn1 is None else self.bn1(x).relu()
        y = self.conv2(self.dropout(self.bn2(self.conv1(y)).relu()))
        x = self.shortcut(x)
        return y + torch.cat([x, x.new_zeros(len(x), y.shape[1] - x.shape[1], x.shape[2])], 1)


class ResNet34(nn.Module):
    def __init__(self, leads: int, num_classes: int = 24, dropout: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv1d(leads, 32, 16, padding="same")
        self.bn1 = nn.BatchNorm1d(32)
        inputs = 32
        for stage, outputs in enumerate((32, 64, 128, 256)):
            blocks = []
            for index in range(4):
                blocks.append(PreactivationBlock(inputs, outputs, 1 + index % 2, stage + index == 0, dropout))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm1d(256)
        self.fc = nn.Linear(256, num_classes)

    def forward(self, signal, demographics):
        x = self.bn1(self.conv1(signal)).relu()
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x))))).relu()
        return self.fc(x.transpose(1, 2)).mean(1)  # of every step, then averaged


class XResBlock(nn.Module):
    def __init__(self, inputs: int, features: int, stride: int, taps: int, bottleneck: bool):
        super().__init__()
        outputs = 4 * features if bottleneck else features
        layers = [(inputs, features, taps, stride), (features, outputs, taps, 1)]
        if bottleneck:
            layers = [(inputs, features, 1, 1), (features, features, taps, stride), (features, outputs, 1, 1)]
        self.names = []
        for index, (ins, outs, kernel, step) in enumerate(layers, start=1):
            setattr(self, f"conv{index}", nn.Conv1d(ins, outs, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{index}", nn.BatchNorm1d(outs))
            self.names.append((f"conv{index}", f"bn{index}"))
        self.pool = nn.AvgPool1d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.downsample = nn.Identity()
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x):
        y = x
        for conv, bn in self.names:
            y = getattr(self, bn)(getattr(self, conv)(y))
            y = y if conv == self.names[-1][0] else y.relu()
        return (y + self.downsample(self.pool(x))).relu()


XRESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class XResNet1D(nn.Module):
    def __init__(self, leads, num_classes=24, *, depth=101, width=64, taps=5, doubling=False):
        super().__init__()
        sizes = (leads, width // 2, width // 2, width)
        for index in (1, 2, 3):
            stride = 2 if index == 1 else 1
            conv = nn.Conv1d(sizes[index - 1], sizes[index], taps, stride, taps // 2, bias=False)
            setattr(self, f"conv{index}", conv)
            setattr(self, f"bn{index}", nn.BatchNorm1d(sizes[index]))
        self.maxpool = nn.MaxPool1d(3, 2, 1)
        inputs = width
        for stage, count in enumerate(XRESNET_BLOCKS[depth]):
            features = width * 2**stage if doubling else width
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(XResBlock(inputs, features, stride, taps, depth >= 50))
                inputs = 4 * features if depth >= 50 else features
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(2 * inputs, num_classes)

    def forward(self, signal, demographics):
        x = self.bn1(self.conv1(signal)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.maxpool(self.bn3(self.conv3(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.cat([x.amax(-1), x.mean(-1)], 1))


def initialise_convolutions(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


MODELS = {
    "lrhnet": LRHNet,
    "lrhnet_wide": LRHNetWide,
    "seresnet": SEResNet,
    "cnn1d": CNN1D,
    "resnet34": ResNet34,
    "xresnet1d": XResNet1D,
}
