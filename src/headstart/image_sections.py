"""The sections of settings that belong to images; text knows nothing of them."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from headstart.settings import Settings, setting


class PictureSettings(Settings):
    """How images are read, cut into patches and varied."""

    column: str | None = setting(
        None, "Column of a table that holds images or their paths; null: inferred."
    )
    size: int | None = setting(
        None,
        "Side to which images are brought; null: from the data, 32 to 224.",
        unit="pixels",
        ge=8,
        le=1024,
    )
    patch: int | None = setting(
        None,
        "Side of a patch; null: an eighth of the size, 4 to 16.",
        unit="pixels",
        source="He et al. 2022: 16 at 224",
        ge=1,
        le=256,
    )
    mirror: bool = setting(
        True, "Whether left and right may be swapped; false for letters and signs."
    )
    jitter: float = setting(
        0.0,
        "Most change of brightness, contrast and saturation while training.",
        unit="share",
        source="He et al. 2022: none helps masked autoencoders",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _patches_fill(self) -> Self:
        if self.size is not None and self.patch is not None and self.size % self.patch:
            raise ValueError(
                f"images.size {self.size} is not a multiple of images.patch {self.patch}: write "
                f"images.size: {max(1, self.size // self.patch) * self.patch}"
            )
        return self

    def shape(self, side: int) -> tuple[int, int]:
        """Size and patch, where the data's images are mostly `side` pixels."""
        patch = self.patch
        size = self.size or next((s for s in (32, 64, 96, 128, 160, 192) if side <= s), 224)
        if patch is None:
            wanted = max(4, min(16, size // 8))
            patch = next(p for p in range(wanted, 0, -1) if size % p == 0)
        if self.size is None:
            size = -(-size // patch) * patch
        return size, patch


class ImageSettings(PictureSettings):
    """How images are read, cut into patches, varied and masked in pretraining."""

    crop: float = setting(
        0.2,
        "Least share of an image's area that a view of it keeps while pretraining; 1: all.",
        unit="share",
        source="He et al. 2022, table 8",
        gt=0,
        le=1,
    )
    mask_rate: float | None = setting(
        None,
        "Share of the patches that is hidden; null: 0.75 for mae, 0.6 for simmim.",
        unit="share",
        source="He et al. 2022, figure 5; Xie et al. 2022, table 1",
        gt=0,
        lt=1,
    )
    decoder_layers: int = setting(
        2, "Blocks of mae's decoder.", unit="layers", source="small budgets: 8 in the paper", ge=1
    )
    decoder_size: int | None = setting(
        None, "Width of mae's decoder; null: half of the model's.", unit="numbers", ge=4
    )
