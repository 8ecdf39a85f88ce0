"""What a run learns from held-out normal images: the method's own calibration, statistics, thresholds."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from i3ad_jax.config import Config, ScoreConfig
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.choose_u import defect_threshold
from i3ad_jax.methods.method import Method, State
from i3ad_jax.runs.run_folder import RunFolder, write_array, write_json
from i3ad_jax.scoring.maps import image_scores
from i3ad_jax.scoring.standardisation import Standardise, Statistics, choose, leave_one_out, statistics
from i3ad_jax.shapes import to_float

# Calibrated score: the one it is made of.
CALIBRATED = {"l2_calibrated": "l2", "ssim_calibrated": "ssim", "ms_ssim_calibrated": "ms_ssim"}

AnomalyMaps = dict[str, Float[np.ndarray, "n h w"]]  # by score, float32


@dataclass(frozen=True)
class RunCalibration:
    """All that comes from normal images which served no training step.

    Attributes:
        values: what `calibration.json` holds: the method's own calibration, how maps are standardised and
            the `thresholds` by score.
        statistics: of the maps that calibrated scores are made of, by the name of the calibrated score.
    """

    values: dict[str, Any]
    statistics: dict[str, Statistics]

    def complete(self, maps: AnomalyMaps) -> AnomalyMaps:
        """The maps, and after them those of the calibrated scores."""
        calibrated = {
            kind: found.standardise(maps[CALIBRATED[kind]]) for kind, found in self.statistics.items()
        }
        return {**maps, **calibrated}

    def write(self, folder: RunFolder) -> None:
        """Writes `statistics/SCORE.npy`, mean and standard deviation of each pixel, then `calibration.json`.

        Raises:
            InputError: the folder cannot be written to.
        """
        try:
            folder.statistics.mkdir(parents=True, exist_ok=True)
            for kind, found in self.statistics.items():
                write_array(folder.statistics / f"{kind}.npy", np.stack([found.mean, found.sd]))
            write_json(folder.calibration, self.values)
        except OSError as error:
            raise InputError(f"{folder.path}: cannot be written to ({error.strerror})") from error

    @classmethod
    def read(cls, folder: RunFolder) -> "RunCalibration":
        """What `write` wrote.

        Raises:
            InputError: a file is missing, as in runs of earlier versions, or damaged.
        """
        values = folder.read_json(folder.calibration)
        if not is_calibrated(folder):
            raise InputError(
                f"{folder.statistics}: missing; python -m i3ad_jax.evaluate {folder.path} calibrates the run"
            )
        found = {}
        for kind in CALIBRATED:
            mean, sd = folder.read_array(folder.statistics / f"{kind}.npy")
            found[kind] = Statistics(mean, sd)
        return cls(values, found)


def is_calibrated(folder: RunFolder) -> bool:
    """Whether `folder` holds all that `RunCalibration.read` reads."""
    files = (folder.calibration, *(folder.statistics / f"{kind}.npy" for kind in CALIBRATED))
    return all(file.exists() for file in files)


def calibrate(
    method: Method, config: Config, state: State, held_out: UInt8[np.ndarray, "n h w 3"]
) -> RunCalibration:
    """The calibration by held-out normal images.

    A calibrated score's threshold comes from scores of these images of which each is standardised by all
    others: by statistics that it had a part in, an image would look more normal than a new one.
    """
    values = dict(method.calibrate(state, to_float(jnp.asarray(held_out))))
    maps = _method_maps(method, config, state, values, held_out, label="calibrate")
    thresholds = {kind: defect_threshold(image_scores(own)) for kind, own in maps.items()}
    standardise, found = {}, {}
    for kind, source in CALIBRATED.items():
        how, reason = _standardise(maps[source], config.score)
        others = leave_one_out(maps[source], how)
        unseen = np.stack([other.standardise(own) for own, other in zip(maps[source], others, strict=True)])
        thresholds[kind] = defect_threshold(image_scores(unseen, top_fraction=config.score.top_fraction))
        standardise[kind] = {"by": how, **reason}
        found[kind] = statistics(maps[source], how)
    return RunCalibration({**values, "standardise": standardise, "thresholds": thresholds}, found)


def anomaly_maps(
    method: Method,
    config: Config,
    state: State,
    calibration: RunCalibration,
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    label: str | None = None,
) -> AnomalyMaps:
    """Maps of all images by score; `label` names the progress bar; no label, no bar."""
    return calibration.complete(_method_maps(method, config, state, calibration.values, images, label=label))


def scores_of(maps: AnomalyMaps, config: ScoreConfig) -> dict[str, Float[np.ndarray, " n"]]:
    """Image scores by kind: the mean of a map (the paper's), or for a calibrated score of its top pixels."""
    return {
        kind: image_scores(values, top_fraction=config.top_fraction if kind in CALIBRATED else 1.0)
        for kind, values in maps.items()
    }


def _standardise(maps: np.ndarray, config: ScoreConfig) -> tuple[Standardise, dict[str, Any]]:
    """How to standardise, and for `calibration.json` the reason."""
    if config.standardise != "auto":
        return config.standardise, {"reason": "given by --standardise"}
    chosen, fit = choose(maps)
    return chosen, {"reason": "foretells held-out images best", "log_likelihoods": fit}


def _method_maps(
    method: Method,
    config: Config,
    state: State,
    values: dict[str, Any],
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    label: str | None,
) -> AnomalyMaps:
    """The method's own maps. The images go through it in queues of one size: one program serves all."""
    size, parts = config.refine.queue_size, []
    with tqdm(total=len(images), desc=label, unit="image", disable=label is None) as progress:
        for first in range(0, len(images), size):
            queue = images[first : first + size]
            count = len(queue)
            padded = np.concatenate([queue, np.repeat(queue[-1:], size - count, axis=0)])
            maps = method.anomaly_maps(state, values, to_float(jnp.asarray(padded)), count)
            parts.append({kind: np.asarray(own)[:count] for kind, own in maps.items()})
            progress.update(count)
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}
