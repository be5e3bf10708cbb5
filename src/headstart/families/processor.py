"""preprocessor_config.json: what a folder says of the pixels that its model wants.

Bytes are resized bilinearly without keeping the shape, divided by 255, and brought to mean and
deviation: the one way that headstart prepares images and stock processors can express.
"""

from __future__ import annotations

from pathlib import Path

from headstart.data.patches import PixelScale
from headstart.families.fields import Fields, Json, read_fields, write_json
from headstart.families.model import Model

FILE = "preprocessor_config.json"
BILINEAR = 2  # Pillow's number
STOCK = {"clip": "CLIPProcessor", "dual": "VisionTextDualEncoderProcessor"}


def write_processor(folder: Path, model: Model, scale: PixelScale) -> None:
    """Write the file that `AutoImageProcessor` reads."""
    towers = model.config.images is not None
    patches = (model.config.images or model.config).patches
    assert patches is not None, "for a model that reads images"
    side = patches.image_size
    own: dict[str, Json] = {"image_processor_type": "ViTImageProcessor"}
    if towers:  # its stock processor crops unless told otherwise
        own = {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": STOCK[model.family],
            "do_center_crop": False,
            "do_convert_rgb": True,
        }
    write_json(
        folder / FILE,
        {
            **own,
            "do_resize": True,
            "size": {"height": side, "width": side},
            "resample": BILINEAR,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(scale.mean),
            "image_std": list(scale.std),
        },
    )


def read_processor(folder: Path) -> PixelScale:
    """Mean and deviation of the folder's file; those that are usual for ViT without one.

    Raises CheckpointError for values that are no three numbers, and for another range of pixels.
    """
    if not (folder / FILE).is_file():
        return PixelScale()
    hf = read_fields(folder / FILE)
    hf.must_be("do_rescale", True)
    if abs(hf.number("rescale_factor", 1 / 255, low=0, high=1) * 255 - 1) > 1e-3:
        raise hf.refused("rescale_factor", hf.values["rescale_factor"], "1/255")
    if not hf.flag("do_normalize", True):
        return PixelScale((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    usual = PixelScale()
    return PixelScale(
        _three(hf, "image_mean", usual.mean, low=0), _three(hf, "image_std", usual.std)
    )


def _three(
    hf: Fields, key: str, usual: tuple[float, float, float], *, low: float = 1e-6
) -> tuple[float, float, float]:
    value: Json = hf.values.get(key)
    if value is None:
        return usual
    if not isinstance(value, list) or len(value) != 3:
        raise hf.refused(key, value, "three numbers")
    numbers = [Fields({key: item}, hf.source).number(key, low=low, high=255) for item in value]
    return numbers[0], numbers[1], numbers[2]
