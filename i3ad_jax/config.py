"""All settings of a run: common ones, and those of its method."""

from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from i3ad_jax.calibration.standardisation import ScoringSettings
from i3ad_jax.data.load import DataSettings
from i3ad_jax.errors import did_you_mean
from i3ad_jax.methods import METHODS
from i3ad_jax.methods.method import Detail, Method
from i3ad_jax.preprocessing.preprocessing import PreprocessingSettings
from i3ad_jax.runtime.throughput import Device, Throughput, ThroughputSettings
from i3ad_jax.scoring.ssim import SsimSettings
from i3ad_jax.settings import SettingError, Settings, setting, settings_from_json

DEFAULT_PRESET = "standard"
AUTOMATIC_NETWORKS = ("view", "generator")  # decide the shapes of networks; may be "auto"
_PAPER = PreprocessingSettings(view="whole", levelling="no", centre="none")
Preset = Literal["standard", "quick", "gpu", "paper", "paper_small"]
PRESETS = {
    "standard": (DataSettings(image_size=64), PreprocessingSettings()),
    "quick": (DataSettings(image_size=64), PreprocessingSettings(view="whole")),
    "gpu": (DataSettings(), PreprocessingSettings(view="whole")),
    "paper": (DataSettings(), _PAPER),
    "paper_small": (DataSettings(image_size=128), _PAPER),
}
Training = TypeVar("Training", bound=Settings, covariant=True)
Test = TypeVar("Test", bound=Settings, covariant=True)


@dataclass(frozen=True)
class Config(Settings, Generic[Training, Test]):
    """All settings of a run. `training` and `test` are those of its method.

    Raises:
        SettingError: on construction, where a setting is invalid, by itself or for the method.
    """

    method: str
    """Method to train: i3ad, l2_ae, ssim_ae, l2_ae_projection, ssim_ae_projection, anogan,
    f_anogan, aegan, unet or pca. Each has settings of its own: see --method NAME --help."""
    preset: str
    """Defaults of all other settings. standard: 64 x 64, whole images or tiles, 5 to 8 minutes on
    two CPU cores. quick: whole images, fewer steps. gpu: 256 x 256, wide networks, minutes on a
    GPU. paper: 256 x 256. paper_small: the same at 128 x 128, with narrower networks and fewer
    steps."""
    training: Training
    test: Test
    data: DataSettings = field(default_factory=DataSettings)
    preprocessing: PreprocessingSettings = field(default_factory=PreprocessingSettings)
    ssim: SsimSettings = field(default_factory=SsimSettings)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    throughput: ThroughputSettings = field(default_factory=ThroughputSettings)
    seed: int = setting(0, minimum=0, maximum=2**32 - 1)
    """Seed of weights, batches, training masks and the held-out split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, default in zip(
            ("training", "test"), _presets(self.method, self.preset), strict=True
        ):
            if type(getattr(self, name)) is not type(default):
                raise SettingError(name, getattr(self, name), f"must be {type(default).__name__}")
        for name, side in self.possible_sides().items():
            try:
                METHODS[self.method].validate(self.training, self.test, side)
            except SettingError as error:  # a method knows its side, but not where it comes from
                if error.setting != "image_size":
                    raise
                raise SettingError(name, side, error.problem) from None

    def possible_sides(self) -> dict[str, int]:
        """Sides in pixels of the networks' input, by setting; both while `view` is "auto"."""
        whole, tiles = {"image_size": self.data.image_size}, {"tile": self.preprocessing.tile}
        return {"whole": whole, "tiles": tiles, "auto": whole | tiles}[self.preprocessing.view]

    def detail(self) -> Detail | None:
        """Return the method's part that sees more than squares, as `Method.detail`."""
        return METHODS[self.method].detail(self.training)

    def batch_sizes(self) -> dict[str, int]:
        """See `Method.batch_sizes`."""
        return METHODS[self.method].batch_sizes(self.training)

    def build(self) -> Method:
        """Return the method with its networks, and with its throughput on this device.

        Raises:
            SettingError: `view` or `generator` is "auto". `plan.resolve` replaces both.
        """
        settings = self.flat()
        for name in AUTOMATIC_NETWORKS:
            if settings.get(name) == "auto":
                raise SettingError(
                    name, "auto", "depends on the images; resolve it first, or give a value"
                )
        (side,) = self.possible_sides().values()
        method = METHODS[self.method](self.training, self.test, side, self.ssim, Throughput())
        return replace(method, throughput=self.throughput.resolve(Device.here(), method.work))

    def with_settings(self, changes: dict[str, Any]) -> "Config[Any, Any]":
        """The same with some settings changed, each by its own name.

        Raises:
            SettingError: a value is invalid, or the method has no such setting.
        """
        if unknown := changes.keys() - self.flat().keys():
            raise misplaced_setting(min(unknown), changes[min(unknown)], method=self.method)
        return super().with_settings(changes)

    def for_test(self, method: str, changes: dict[str, Any]) -> "Config[Any, Any]":
        """The settings of another test with the weights that these settings lead to.

        Args:
            method: this one, or another that takes its weights.
            changes: settings of the test by name.

        Raises:
            SettingError: the method cannot take the weights, a value is invalid, or the weights
                depend on the setting.
        """
        config = self if method == self.method else self.for_method(method)
        if misplaced := changes.keys() & self.trained_with():
            name = min(misplaced)
            raise misplaced_setting(name, changes[name], method=config.method)
        return config.with_settings(changes)

    def trained_with(self) -> set[str]:
        """Names of the settings that the weights depend on."""
        owners = (self.training, self.data, self.preprocessing)
        fixed = {name for owner in owners for name in owner.flat()} | {"seed", "preset", "method"}
        return fixed | METHODS[self.method].trained_with(self.training)

    def check_weights_of(self, trained: "Config[Any, Any]") -> None:
        """Raise SettingError if the weights of a run with settings `trained` need one that differs.

        The method may differ, if `for_method` allows it.
        """
        own, theirs = self.flat(), trained.flat()
        for name in sorted(trained.trained_with() - {"method"}):
            if name in own and own[name] != theirs[name]:
                raise misplaced_setting(name, own[name], method=self.method)

    def for_method(self, method: str) -> "Config[Any, Any]":
        """Return the settings of another method that takes the same weights.

        Those of the test are that method's, by its preset.

        Raises:
            SettingError: there is no such method, or it cannot take them.
        """
        other = default_config(method, preset=self.preset)
        if len({METHODS[name].weights_of or name for name in (method, self.method)}) > 1:
            raise SettingError(
                "method", method, f"cannot take the weights of a run of {self.method}"
            )
        return replace(self, method=method, training=self.training, test=other.test)

    @classmethod
    def from_json(cls, values: Any) -> "Config[Any, Any]":
        """The settings that `to_json` gave.

        Raises:
            SettingError: a setting is missing, unknown, of the wrong type or invalid.
        """
        parts = {}
        if isinstance(values, dict) and "method" in values:
            training, test = _presets(values["method"], "quick")
            parts = {"training": type(training), "test": type(test)}
        return settings_from_json(values, parts, cls)


def default_config(method: str, *, preset: str = DEFAULT_PRESET) -> Config[Any, Any]:
    """The settings of a method under a preset of `PRESETS`.

    Raises:
        SettingError: there is no such method or preset.
    """
    training, test = _presets(method, preset)
    data, preprocessing = PRESETS[preset]
    return Config(method, preset, training, test, data=data, preprocessing=preprocessing)


def methods_with(name: str) -> list[str]:
    """Return the methods that have a setting."""
    return [method for method in METHODS if name in default_config(method).flat()]


def misplaced_setting(name: str, value: Any, *, method: str) -> SettingError:
    """Return the error of a setting that the method does not have.

    It names the methods that have it, or a setting of a similar name, or says that the setting is
    not one for a test.
    """
    owners = methods_with(name)
    if method in owners:
        return SettingError(name, value, "the weights depend on it; train a new run")
    if owners:
        hint = f"; {', '.join(owners)} {'has' if len(owners) == 1 else 'have'} it"
    else:
        hint = did_you_mean(name, default_config(method).flat())
    return SettingError(name, value, f"{method} has no such setting{hint}")


def _presets(method: Any, preset: Any) -> tuple[Settings, Settings]:
    """Return a method's training and test settings under a preset.

    Those of quick where the method has none of its own for the preset.
    """
    for name, value, known in (("method", method, METHODS), ("preset", preset, PRESETS)):
        if not isinstance(value, str) or value not in known:
            near = did_you_mean(str(value), known)
            raise SettingError(name, value, f"unknown; one of {', '.join(known)}{near}")
    presets = METHODS[method].presets
    return presets.get(preset, presets["quick"])
