"""The digits net as it is written in PyTorch: the server makes one and gives it the weights in model.pt."""

import torch
from torch import nn

INK = 16.0  # the darkest pixel


class Digits(nn.Module):
    """Raw pixels, [batch, 1, 8, 8], in; probabilities, [batch, 10], out."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),  # off while serving; it keeps the layers' numbers as they were in training
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, PIXELS: torch.Tensor) -> torch.Tensor:  # noqa: N803  # the input's name in config.pbtxt
        return torch.softmax(self.network(PIXELS / INK), dim=1)
