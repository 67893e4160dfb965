"""Networks, and what they share. Torch is loaded with the first one that is built."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from masa_cli.models.variants import SAM_SIDE, SAM_VARIANTS, VARIANTS, find_variant

if TYPE_CHECKING:
    from torch import Tensor, nn

    from masa_cli.models.features import FrameFeatures, Pyramid
    from masa_cli.models.runtime import Example


class SharedNetworks:
    """Backbones, and fused maps behind them: built for who asks first, shared by all others.

    Args:
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.
        preprocessing: how frames become network inputs, a name in `variants.PREPROCESSINGS`.
        side: pixels that the longer side of frames is fitted to; None: the default of each.
        runtime: auto, torch or openvino: what computes the networks.
        preparing: gives what is entered while a network is converted or compiled, with the first
            frame that it sees: such time is not that of a frame.
        ahead: batches that others look at while those before go through what follows: with how
            many threads of theirs the cores are shared, and for how many what networks made is
            kept.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        precision: str = "float32",
        preprocessing: str = "demo",
        side: int | None = None,
        runtime: str = "torch",
        preparing: Callable[[], AbstractContextManager[None]] = nullcontext,
        ahead: int = 0,
    ) -> None:
        self.preparing, self.ahead = preparing, ahead
        self.device, self.precision, self.runtime = device, precision, runtime
        self.preprocessing, self.side = preprocessing, side
        self._backbones: dict[tuple[str, Path | None], FrameFeatures] = {}
        self._pyramids: dict[tuple[str, Path | None], Pyramid] = {}

    def share(self, name: str, weights: Path | None, features: FrameFeatures) -> None:
        """Let others use a backbone that was built elsewhere."""
        if self.converts:
            import torch

            from masa_cli.models.backbones import MobileNet, ResNet50

            is_convolutional = isinstance(features.network, MobileNet | ResNet50)
            features.network = self.converted(
                features.network,
                f"the backbone of {name}",
                partial(example_images, name),
                # For any size, a Swin takes many minutes to convert, and a ViT is refused.
                sizes="free" if is_convolutional else "constants",
            )
            features.dtype = torch.float32  # which it takes, whatever it computes in
        features.remember(self._num_runs)
        self._backbones[name, weights] = features

    @property
    def converts(self) -> bool:
        """Whether networks are computed by OpenVINO."""
        from masa_cli.models.device import choose_device
        from masa_cli.models.runtime import choose_runtime

        return choose_runtime(self.runtime, choose_device(self.device)) == "openvino"

    def converted(
        self,
        network: nn.Module,
        part: str,
        example: Example,
        precision: str | None = None,
        **more: Any,  # noqa: ANN401
    ) -> nn.Module:
        """The network as the runtime computes it; arguments as for `runtime.Converted`."""
        return (
            self._conversion.of(network, part, example, precision, **more)
            if self.converts
            else network
        )

    @cached_property
    def _conversion(self) -> _Conversion:
        """With the threads of torch when the first network is built.

        Some are built when they are needed, by those who work on fewer threads.
        """
        return _Conversion(self.precision, self.preparing, self.share_of_cores)

    @property
    def _num_runs(self) -> int:
        """Of which what networks made is kept: those that are looked at, and the one in use."""
        return max(2, self.ahead + 1)

    @property
    def share_of_cores(self) -> ShareOfCores:
        """Of those who look at frames at a time, by the threads that torch has now."""
        import torch

        callers = max(1, self.ahead)
        return ShareOfCores(callers, max(1, torch.get_num_threads() // callers))

    def backbone(self, name: str, weights: Path | None) -> FrameFeatures:
        """Of a variant of the adapter or of Segment Anything."""
        if (name, weights) not in self._backbones:
            self.share(name, weights, self._build(name, weights))
        return self._backbones[name, weights]

    def pyramid(self, name: str, weights: Path | None) -> Pyramid:
        """Of a variant of the adapter."""
        if (name, weights) not in self._pyramids:
            from masa_cli.models.adapter import build_pyramid

            features = self.backbone(name, weights)
            pyramid = build_pyramid(
                name, features, weights=weights, device=self.device, precision=self.precision
            )
            if self.converts and find_variant(name).fusion != "none":
                pyramid.convert_with(partial(self._conversion.of_fused, name))
            pyramid.remember(self._num_runs)
            self._pyramids[name, weights] = pyramid
        return self._pyramids[name, weights]

    def detector_pyramid(self, name: str, weights: Path) -> Pyramid:
        """What Detic and its masks look at, behind the backbone of the variant of that name."""
        key = f"the detector of {name}", weights
        if key not in self._pyramids:
            from masa_cli.models.detic import build_detic_pyramid

            features = self.backbone(name, weights)
            self._pyramids[key] = build_detic_pyramid(
                name, features, weights, device=self.device, precision=self.precision
            )
            self._pyramids[key].remember(self._num_runs)
        return self._pyramids[key]

    def described(self, name: str, weights: Path | None) -> Pyramid:
        """The maps that a variant describes boxes on."""
        from masa_cli.models.features import Pyramid
        from masa_cli.models.trained_weights import variant_in

        if variant_in(name, weights).reads == "fused":
            return self.pyramid(name, weights)
        if (name, weights) not in self._backbones:  # nobody else will want the rest of it
            self.share(name, weights, self._build(name, weights, whole=False))
        return Pyramid.unfused(self.backbone(name, weights))

    def _build(self, name: str, weights: Path | None, *, whole: bool = True) -> FrameFeatures:
        from masa_cli.models.adapter import build_features

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
        from masa_cli.models.sam import build_sam_features

        return build_sam_features(
            name, weights=weights, device=self.device, precision=self.precision
        )


class ShareOfCores(NamedTuple):
    """How networks are computed for several who ask at a time."""

    callers: int
    threads: int  # for each of them


@dataclass(frozen=True, slots=True)
class _Conversion:
    """How OpenVINO computes networks.

    It does not know them: a pyramid that knew of all networks, itself among them, would stay in
    memory after its run, until such circles are looked for.
    """

    precision: str
    preparing: Callable[[], AbstractContextManager[None]]
    share: ShareOfCores

    def of(
        self,
        network: nn.Module,
        part: str,
        example: Example,
        precision: str | None = None,
        **more: Any,  # noqa: ANN401
    ) -> nn.Module:
        """The network, computed by OpenVINO; arguments as for `runtime.Converted`."""
        from masa_cli.models.runtime import Converted

        return Converted(
            network,
            part,
            example,
            precision or self.precision,
            preparing=self.preparing,
            callers=self.share.callers,
            threads=self.share.threads,
            **more,
        )

    def of_fused(self, name: str, network: nn.Module, finest: int) -> nn.Module:
        """The same of neck and fusion of a variant."""
        part = f"the maps of {name} from level {finest}"
        return self.of(network, part, lambda: [example_maps(name)])


# Small inputs that show a converter what is computed. Sides differ, and none of any map is 1.
_EXAMPLE_SIDES = 256, 320


def example_images(name: str) -> list[Tensor]:
    """Two images for the backbone of a variant or of Segment Anything."""
    import torch

    side = SAM_SIDE if name in SAM_VARIANTS else None
    side = find_variant(name).fixed_side if name in VARIANTS else side
    return [torch.zeros(2, 3, *((side, side) if side else _EXAMPLE_SIDES))]


def example_maps(name: str) -> list[Tensor]:
    """Maps of the backbone of a variant, of two images."""
    import torch

    row = find_variant(name)
    height, width = example_images(name)[0].shape[2:]
    # A ViT's are all as coarse as its patches.
    strides = [16] * len(row.channels) if row.fixed_side else row.strides
    return [
        torch.zeros(2, channels, height // stride, width // stride)
        for channels, stride in zip(row.channels, strides, strict=True)
    ]


def example_levels(name: str) -> list[Tensor]:
    """Fused maps of a variant, of two images."""
    import torch

    from masa_cli.models.neck import NUM_LEVELS

    row = find_variant(name)
    height, width = example_images(name)[0].shape[2:]
    strides = [row.strides[0] * 2**level for level in range(NUM_LEVELS)]
    return [torch.zeros(2, row.width, -(-height // s), -(-width // s)) for s in strides]
