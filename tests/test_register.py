"""Methods, scores and layouts of one's own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax import Detector, InputError, register_layout, register_method, register_score
from i3ad_jax.data.layouts import LAYOUTS
from i3ad_jax.methods import METHODS, Method
from i3ad_jax.scoring.maps import SCORES, Score

OWN = '''
"""What a user writes: a method, a score and a layout."""

import sys
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from i3ad_jax import Detector, register_layout, register_method, register_score
from i3ad_jax.data.layouts.layout import Layout, Listing
from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.scoring.maps import Score


@dataclass(frozen=True)
class MeanImage(ReconstructionMethod):
    """Takes the mean of the training images for every reconstruction."""

    training: NoSettings
    test: NoSettings
    name: ClassVar[str] = "mean_image"
    presets: ClassVar = {"quick": (NoSettings(), NoSettings())}

    def init(self, key):
        return jnp.zeros((self.image_size, self.image_size, 3))

    def fit_at_once(self, squares):
        return jnp.asarray(squares.mean(axis=0))

    def begin(self, state, image):
        return state


class Prefixes(Layout):
    """Images whose names begin with train_, ok_ or the name of a defect class."""

    signs = ("train_*",)

    def list_samples(self, root):
        images = list_folder(root).images
        classes = [(path, path.name.partition("_")[0]) for path in images]
        sample = lambda path, name: Sample(path.name, name.replace("ok", "good"), path)
        return Listing(
            [sample(path, "ok") for path, name in classes if name == "train"],
            [sample(path, name) for path, name in classes if name != "train"],
        )


def worst_channel(pair, ssim):
    return jnp.max(jnp.abs(pair.image - pair.reconstruction), axis=-1)


register_method(MeanImage)
register_layout("prefixes", Prefixes())
register_score(Score("worst_channel", "Worst channel", worst_channel, heat_limit=1.0))

data, out = sys.argv[1:]
detector = Detector.fit(
    data, method="mean_image", preset="quick", image_size=16, layout="prefixes"
)
assert "worst_channel_calibrated" in detector.calibration.held_out_scores
evaluation = detector.evaluate(data)
assert evaluation.metric("image_auroc", score="worst_channel", defect="hole") == 1.0
detector.with_rule(score="worst_channel").save(out)
again = Detector.load(out)
assert again.rule.score == "worst_channel"
assert again.score(data) == detector.with_rule(score="worst_channel").score(data)
'''


def test_a_registered_method_score_and_layout_work_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()
    for name, count in (("train", 8), ("ok", 3), ("hole", 3)):
        for i in range(count):
            pixels = rng.integers(120, 130, (16, 16, 3), np.uint8)
            if name == "hole":
                pixels[4:9, 4:9] = (0, 255, 0)
            Image.fromarray(pixels).save(data / f"{name}_{i}.png")
    own, run = tmp_path / "own.py", tmp_path / "run"
    own.write_text(OWN)
    subprocess.run([sys.executable, str(own), str(data), str(run)], check=True)
    with pytest.raises(InputError, match=r"config\.json: method unknown; one of i3ad"):
        Detector.load(run)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (SCORES["ssim"], "score ssim: is in the table already"),
        (replace(SCORES["ssim"], name="combined", calibrated=False), "score combined: is in"),
        (replace(SCORES["ssim_calibrated"], name="other"), "score other: needs a map"),
        (replace(SCORES["ssim"], name="other", needs="luck"), "score other: needs 'luck'"),
    ],
)
def test_a_score_that_cannot_be_used_is_refused(score: Score, words: str) -> None:
    before = [*SCORES]
    with pytest.raises(InputError, match=words):
        register_score(score)
    assert [*SCORES] == before


def test_names_that_are_taken_are_refused() -> None:
    methods, layouts = [*METHODS], [*LAYOUTS]
    with pytest.raises(InputError, match="method pca: is there already"):
        register_method(METHODS["pca"])
    for name in ("mvtec", "auto"):
        with pytest.raises(InputError, match=f"layout {name}: is there already"):
            register_layout(name, LAYOUTS["flat"])
    assert ([*METHODS], [*LAYOUTS]) == (methods, layouts)


def test_a_method_without_a_quick_preset_is_refused() -> None:
    own: type[Method] = type("Own", (METHODS["pca"],), {"name": "own", "presets": {}})
    with pytest.raises(InputError, match="method own: needs the preset quick"):
        register_method(own)
