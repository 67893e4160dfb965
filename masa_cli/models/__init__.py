"""Networks, and what they share. Torch is loaded with the first one that is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from masa_cli.models.variants import VARIANTS

if TYPE_CHECKING:
    from masa_cli.models.features import FrameFeatures, Pyramid


class SharedNetworks:
    """Backbones, and fused maps behind them: built for who asks first, shared by all others.

    Args:
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.
        preprocessing: how frames become network inputs, a name in `variants.PREPROCESSINGS`.
        side: pixels that the longer side of frames is fitted to; None: the default of each.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        precision: str = "float32",
        preprocessing: str = "demo",
        side: int | None = None,
    ) -> None:
        self.device, self.precision = device, precision
        self.preprocessing, self.side = preprocessing, side
        self._backbones: dict[tuple[str, Path | None], FrameFeatures] = {}
        self._pyramids: dict[tuple[str, Path | None], Pyramid] = {}

    def share(self, name: str, weights: Path | None, features: FrameFeatures) -> None:
        """Let others use a backbone that was built elsewhere."""
        self._backbones[name, weights] = features

    def backbone(self, name: str, weights: Path | None) -> FrameFeatures:
        """Of a variant of the adapter or of Segment Anything."""
        if (name, weights) not in self._backbones:
            self._backbones[name, weights] = self._build(name, weights)
        return self._backbones[name, weights]

    def pyramid(self, name: str, weights: Path | None) -> Pyramid:
        """Of a variant of the adapter."""
        if (name, weights) not in self._pyramids:
            from masa_cli.models.adapter import build_pyramid

            features = self.backbone(name, weights)
            self._pyramids[name, weights] = build_pyramid(
                name, features, weights=weights, device=self.device, precision=self.precision
            )
        return self._pyramids[name, weights]

    def described(self, name: str, weights: Path | None) -> Pyramid:
        """The maps that a variant describes boxes on."""
        from masa_cli.models.features import Pyramid
        from masa_cli.models.trained_weights import variant_in

        if variant_in(name, weights).reads == "fused":
            return self.pyramid(name, weights)
        if (name, weights) not in self._backbones:  # nobody else will want the rest of it
            self._backbones[name, weights] = self._build(name, weights, whole=False)
        return Pyramid.unfused(self.backbone(name, weights))

    def _build(self, name: str, weights: Path | None, *, whole: bool = True) -> FrameFeatures:
        from masa_cli.models.adapter import build_features
        from masa_cli.models.sam import build_sam_features

        if name in VARIANTS:
            return build_features(
                name,
                weights=weights,
                preprocessing=self.preprocessing,
                side=self.side,
                whole=whole,
                device=self.device,
                precision=self.precision,
            )
        if weights is None:
            raise ValueError(f"{name} cannot be built without its weights")
        return build_sam_features(
            name, weights=weights, device=self.device, precision=self.precision
        )
