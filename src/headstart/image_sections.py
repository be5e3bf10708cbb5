"""The sections of settings that belong to images; text knows nothing of them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from headstart.settings import Settings, setting

COLUMN = "Column of a table that holds images or their paths; null: inferred."


class ColumnSettings(Settings):
    """How tables of images are read by what trains nothing."""

    column: str | None = setting(None, COLUMN)


class PictureSettings(Settings):
    """How images are read, cut into patches and varied."""

    column: str | None = setting(None, COLUMN)
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

    crop: float | None = setting(
        None,
        "Least share of an image's area that a view of it keeps while pretraining; 1: all; null: "
        "0.2 where patches are hidden, 0.9 where captions say what is there.",
        unit="share",
        source="He et al. 2022, table 8; Cherti et al. 2023",
        gt=0,
        le=1,
    )
    mask_rate: float | None = setting(
        None,
        "Share of the patches that is hidden; null: 0.75 for mae, 0.6 for simmim, 0.4 for beit.",
        unit="share",
        source="He et al. 2022, figure 5; Xie et al. 2022, table 1; Bao et al. 2022, 2.3",
        gt=0,
        lt=1,
    )
    decoder_layers: int = setting(
        2, "Blocks of mae's decoder.", unit="layers", source="small budgets: 8 in the paper", ge=1
    )
    decoder_size: int | None = setting(
        None, "Width of mae's decoder; null: half of the model's.", unit="numbers", ge=4
    )
    contrast_crop: float = setting(
        0.2,
        "Least share of an image's area that contrast's views keep.",
        unit="share",
        source="Chen et al. 2020: 0.08 at 224 pixels",
        gt=0,
        le=1,
    )
    contrast_jitter: float = setting(
        0.4,
        "Most change of brightness, contrast and saturation in contrast's views; hue turns by a "
        "quarter of it.",
        unit="share",
        source="Chen et al. 2020, appendix B.9: strength 0.5 for small images",
        ge=0,
        lt=1,
    )
    contrast_grey: float = setting(
        0.2,
        "Share of contrast's views without colours.",
        unit="share",
        source="Chen et al. 2020, appendix A",
        ge=0,
        le=1,
    )
    codes: int = setting(
        512,
        "Visual tokens that beit tells apart; they are learnt from the images.",
        unit="codes",
        source="small data: 8,192 in the paper",
        ge=2,
        le=65_536,
    )


class PairSettings(Settings):
    """How images and their captions are brought together."""

    caption: str | None = setting(
        None, "Column of a table that holds captions; null: by its name (caption, title, ...)."
    )
    start_text: str | None = setting(
        None,
        "Run or model folder, or hf:ID, from which the tower of texts begins: a BERT, RoBERTa or "
        "GPT, or a model of two towers; null: fresh.",
        path=True,
    )
    start_images: str | None = setting(
        None,
        "The same for the tower of images: a ViT, or a model of two towers; null: fresh.",
        path=True,
    )
    loss: Literal["softmax", "sigmoid"] = setting(
        "softmax",
        "Whether each image chooses among the captions of its batch and the reverse (softmax), or "
        "each pair is judged on its own (sigmoid).",
        source="Radford et al. 2021; Zhai et al. 2023",
    )
    batch: int = setting(
        256, "Images with a caption each in one step.", unit="pairs", ge=2, le=1_048_576
    )
    chunk: int | None = setting(
        None,
        "Pairs whose activations are held at once; the gradient is that of the whole batch, for "
        "about a third more computing. null: all of them.",
        unit="pairs",
        source="Gao et al. 2021, arXiv:2101.06983",
        ge=1,
    )
    held_out: float = setting(
        0.05,
        "Share of the images kept out of training to measure retrieval on, at most 1000.",
        unit="share",
        ge=0.001,
        le=0.5,
    )

    @property
    def named(self) -> str:
        """The setting that says where a tower begins; nothing if both begin fresh."""
        keys = ("start_text", "start_images")
        return next((f"pairs.{key}" for key in keys if getattr(self, key) is not None), "")

    @model_validator(mode="after")
    def _chunk_is_a_part(self) -> Self:
        if self.chunk is not None and self.chunk > self.batch:
            raise ValueError(
                f"pairs.chunk {self.chunk} is more than pairs.batch {self.batch}: write "
                "pairs.chunk: null"
            )
        return self
