"""Squares of pixels in the place of an autoencoder's latents (Shi et al. 2016); no weights."""
import json
import os

import torch


class PixelSpace:
    """`block`: side of a square in pooled pixels; `pool`: pixels along each side that became their mean; `picture_channels`: 3."""

    def __init__(self, block, pool, picture_channels=3):
        self.config = {"block": block, "pool": pool, "picture_channels": picture_channels}

    @classmethod
    def from_pretrained(cls, folder, **_):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        return cls(config["block"], config["pool"], config["picture_channels"])

    def save_pretrained(self, folder, **_):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"_class_name": "PixelSpace", **self.config}, file, indent=2)

    def decode(self, x):
        """`[n, channels, h, w]` -> images `[n, 3, h side, w side]`, about -1..1."""
        image = torch.nn.functional.pixel_shuffle(x, self.config["block"])
        if self.config["pool"] == 1:
            return image
        return torch.nn.functional.interpolate(
            image, scale_factor=self.config["pool"], mode="bicubic", antialias=True
        )
