"""anomalib's models that need no download, trained as its documentation describes.

Its documentation uses a data module and an engine. In version 2.7 only GANomaly and DRAEM learn
from scratch. All others start from downloaded weights; those with `pre_trained=False` can do
without, on features of random weights.
"""

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage import data as skimage_data

from benchmarks.peers.peer import Scores

# Natural photographs that come with scikit-image, except its bricks, which are a dataset here.
PHOTOGRAPHS = (
    "astronaut",
    "camera",
    "cat",
    "clock",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "moon",
    "rocket",
)
PHOTOGRAPH_SIDE = 256  # DRAEM resizes one to the images' size for every image that it trains on


@dataclass(frozen=True)
class AnomalibModel:
    """A trained model, and the engine that trained it."""

    model: Any
    engine: Any

    def score(self, images: np.ndarray) -> Scores:
        """See `Fitted.score`."""
        with torch.inference_mode():
            found = self.model(torch.from_numpy(images).permute(0, 3, 1, 2))
        maps = found.anomaly_map
        # With a channel or without one.
        maps = None if maps is None else maps.reshape(images.shape[:3]).numpy()
        return Scores(found.pred_score.reshape(-1).numpy(), maps)

    def save(self, folder: Path) -> None:
        """Save as the engine does after each epoch, with the optimisers' states."""
        self.engine.trainer.save_checkpoint(folder / "model.ckpt")


def fit_ganomaly(images: np.ndarray, *, seed: int, seconds: float) -> AnomalibModel:
    """GANomaly (Akcay et al. 2018): image scores, no maps."""
    return _fit("Ganomaly", images, seed=seed, seconds=seconds)


def fit_draem(images: np.ndarray, *, seed: int, seconds: float) -> AnomalibModel:
    """DRAEM (Zavrtanik et al. 2021), its defects cut from photographs that are here.

    By default it downloads the 5,640 photographs of textures of the DTD data set.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in PHOTOGRAPHS:
            picture = Image.fromarray(getattr(skimage_data, name)()).convert("RGB")
            picture.resize((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE)).save(Path(folder) / f"{name}.png")
        return _fit("Draem", images, seed=seed, seconds=seconds, dtd_dir=folder)


def fit_patchcore_random(images: np.ndarray, *, seed: int, seconds: float) -> AnomalibModel:  # noqa: ARG001
    """PatchCore (Roth et al. 2022), one epoch, on the features of an untrained network."""
    return _fit("Patchcore", images, seed=seed, seconds=None, pre_trained=False)


def _fit(
    name: str, images: np.ndarray, *, seed: int, seconds: float | None, **settings: Any
) -> AnomalibModel:
    # By name: type checkers need not find anomalib. `Peer.load` has imported it.
    callbacks, data, engines, models = (
        import_module(f"anomalib.{part}")
        for part in ("callbacks", "data", "engine", f"models.image.{name.lower()}")
    )
    import_module("lightning").seed_everything(seed)
    kind, side = getattr(models, name), images.shape[1]
    model = kind(
        pre_processor=kind.configure_pre_processor((side, side)),
        # Scores are ranked as they are: scaling, measuring and drawing them is not needed.
        post_processor=False,
        evaluator=False,
        visualizer=False,
        **settings,
    )
    with tempfile.TemporaryDirectory() as folder:
        normal = Path(folder) / "good"
        normal.mkdir()
        for number, image in enumerate(np.round(255 * images).astype(np.uint8)):
            Image.fromarray(image).save(normal / f"{number:05}.png")
        module = data.Folder(
            name="peers",
            root=folder,
            normal_dir="good",
            test_split_mode="none",
            val_split_mode="none",
            # By default eight processes, started again for each epoch: on two cores they take
            # longer than to read these small files here.
            num_workers=0,
        )
        engine = engines.Engine(
            accelerator="cpu",
            # By default a checkpoint after each epoch, which here would take most of the time.
            callbacks=[callbacks.ModelCheckpoint(every_n_epochs=0)],
            default_root_dir=folder,
            enable_model_summary=False,
            enable_progress_bar=False,
            limit_val_batches=0,
            max_time=None if seconds is None else timedelta(seconds=seconds),
        )
        engine.fit(model=model, datamodule=module)
    return AnomalibModel(model.eval(), engine)
