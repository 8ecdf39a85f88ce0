"""The commands' flags are the method's settings: the help shows no others, none is accepted."""

import json
import math
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from i3ad_jax import __main__, command_line
from i3ad_jax.config import PRESETS, Config, default_config
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.flags import TITLES
from i3ad_jax.methods import METHODS
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.settings import flag
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf

Main = Callable[[Sequence[str]], None]
# Of a line of the help that begins with an option. A switch has its opposite beside it.
OPTION = re.compile(r"^[│ ] (?:-h, )?(--[a-z][a-z0-9-]*)(?:, (--no-[a-z0-9-]+))?", re.MULTILINE)


def put_config(folder: Path, config: Config) -> Path:
    """A run folder as far as flags need it."""
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    return folder


def help_text(main: Main, arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def options(text: str) -> set[str]:
    """The options that a help explains."""
    found = OPTION.findall(text)
    assert all(opposite in ("", option.replace("--", "--no-", 1)) for option, opposite in found)
    return {option for option, _ in found}


def height(text: str) -> int:
    """Lines of a terminal of 100 columns."""
    return sum(max(1, math.ceil(len(line) / 100)) for line in text.splitlines())


@pytest.mark.parametrize("method", METHODS)
def test_help_of_train_shows_the_method_s_settings_and_no_others(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = options(help_text(train.main, ["--method", method, "--help-all"], capsys))
    processes = {"--coordinator", "--num-processes", "--process-id"}
    resources = {"--devices", "--image-memory", "--minutes", *processes}
    others = {"--config", "--run", "--resume", "--deterministic", *resources, "--help"}
    assert shown == {flag(name) for name in default_config(method).flat()} | others


@pytest.mark.parametrize("method", METHODS)
def test_a_short_help_has_the_options_that_matter_with_choices_and_defaults(
    method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = help_text(train.main, ["--method", method, "--help"], capsys)
    assert len(options(text) - {"--help"}) == 10
    assert height(text) <= 60
    assert "--preset {standard,quick,gpu,paper,paper_small}" in text
    assert f"--method {{{','.join(METHODS)}}}" in text
    joined = re.sub(r"[│\s]+", " ", text)
    assert f"(default: {method})" in joined
    assert "(default: no)" in joined
    assert "None" not in text


def test_groups_have_titles_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(train.main, ["--help-all"], capsys)
    titles = re.findall(r"^(?:╭─)? ?(\S.* options|options) +(?:─+╮)?$", text, re.MULTILINE)
    assert {"training options", "inpainting loop options", "SSIM options"} <= {*titles}
    names = {title.removesuffix(" options") for title in titles}
    assert names <= {*TITLES.values(), "options"}


@pytest.mark.parametrize("method", METHODS)
def test_help_of_evaluate_shows_the_test_settings_of_the_run_s_method(
    method: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = default_config(method)
    run = put_config(tmp_path, config)
    shown = options(help_text(evaluate.main, [str(run), "--help-all"], capsys))
    owners = (config.test, config.data.reading, config.ssim, config.scoring, config.throughput)
    settings = {flag(name) for owner in owners for name in owner.flat()}
    assert shown == settings | {
        "--data",
        "--out",
        "--image-memory",
        "--method",
        "--deterministic",
        "--help",
    }


def test_help_of_evaluate_shows_the_settings_of_the_method_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = put_config(tmp_path, default_config("l2_ae"))
    own = help_text(evaluate.main, [str(run), "--help"], capsys)
    assert "--projection-steps" not in options(own)
    projection = [str(run), "--method", "l2_ae_projection", "-h"]
    assert "--projection-steps" in options(help_text(evaluate.main, projection, capsys))


@pytest.mark.parametrize("name", [name for name in __main__.COMMANDS if name != "devices"])
def test_a_help_without_anything_else_fits_on_a_screen(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    main = import_module(f"i3ad_jax.{name}.__main__").main
    text, whole = (help_text(main, [option], capsys) for option in ("--help", "--help-all"))
    assert height(text) <= 60
    assert {"--help"} < options(text) <= options(whole)
    assert ("--help-all lists all options" in text) == (options(text) < options(whole))


@pytest.mark.parametrize("preset", PRESETS)
def test_help_shows_the_preset_s_values(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(train.main, ["--help", "--preset", preset], capsys)
    steps = default_config("i3ad", preset=preset).flat()["steps"]
    assert re.search(rf"--steps INT +Training steps\. \(default: {steps}\)", text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--method pca --critic-steps 3",
            "--critic-steps 3: pca has no such setting; f_anogan has it",
        ),
        (
            "--critic-steps 3 --method pca",
            "--critic-steps 3: pca has no such setting; f_anogan has it",
        ),
        (
            "--method pca --critic-steps=3",
            "--critic-steps 3: pca has no such setting; f_anogan has it",
        ),
        ("--method i3ad --skips 1", "--skips 1: i3ad has no such setting; unet has it"),
        ("--skips 1", "--skips 1: i3ad has no such setting; unet has it"),
        (
            "--method unet --dilations 2 4",
            "--dilations 2: unet has no such setting; i3ad, aegan have it",
        ),
        ("--method pca --u 0.3", "--u 0.3: pca has no such setting; i3ad has it"),
        (
            "--method l2_ae --projection-steps 3",
            "l2_ae has no such setting; l2_ae_projection, ssim_ae_proj",
        ),
        ("--method pca --no-shrink", "--shrink: pca has no such setting; i3ad has it"),
        ("--method pca --steps 3", "--steps 3: pca has no such setting; i3ad, "),
        ("--method pca --magic 3", "--magic: unknown option"),
        (
            "--method pca --critic_steps 3",
            "--critic-steps 3: pca has no such setting; f_anogan has it",
        ),
    ],
)
def test_train_refuses_settings_of_other_methods_by_their_flag(
    fails: Fails, tmp_path: Path, arguments: str, message: str
) -> None:
    assert message in fails(train.main, [*arguments.split(), "--run", tmp_path / "run"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("pca", "--u 0.3", "--u 0.3: pca has no such setting; i3ad has it"),
        ("i3ad", "--latent-steps 3", "--latent-steps 3: i3ad has no such setting; anogan has it"),
        ("l2_ae", "--projection-steps 3", "l2_ae has no such setting; l2_ae_projection, ssim"),
        ("l2_ae", "--method pca", "--method pca: cannot take the weights of a run of l2_ae"),
        ("l2_ae", "--method magic", "--method magic: unknown; one of i3ad, "),
        ("i3ad", "--u 3", "--u 3.0: must be at least 0 and at most 2"),
        ("i3ad", "--dtype float16", "--dtype"),
        ("i3ad", "--iterations many", "--iterations"),
    ],
)
def test_evaluate_refuses_settings_of_other_methods_by_their_flag(
    fails: Fails, tmp_path: Path, method: str, arguments: str, message: str
) -> None:
    run = put_config(tmp_path, default_config(method))
    assert message in fails(evaluate.main, [run, *arguments.split()])


def test_evaluate_refuses_training_settings_because_weights_depend_on_them(
    fails: Fails, tmp_path: Path
) -> None:
    run = put_config(tmp_path, default_config("i3ad"))
    for name in ("width", "steps", "seed", "image_size", "held_out"):
        message = fails(evaluate.main, [run, flag(name), "8"])
        assert f"{flag(name)} 8: the weights depend on it; train a new run" in message


def test_the_fixed_loop_can_be_chosen(
    tmp_path: Path, flags_of: FlagsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Config] = []

    def train_and_test(config: Config, *_: object, **__: object) -> None:
        found.append(config)

    def evaluate_run(_: object, config: Config, **__: object) -> dict[str, object]:
        found.append(config)
        return {}

    monkeypatch.setattr(train, "train_and_test", train_and_test)
    monkeypatch.setattr(evaluate, "evaluate_run", evaluate_run)
    monkeypatch.setattr(command_line, "print_results", lambda _: None)
    run = put_config(tmp_path, default_config("i3ad"))
    train.main([*flags_of("i3ad"), "--loop", "fixed"])
    evaluate.main([str(run), "--loop", "fixed"])
    assert RunFolder(run).read_config().flat()["loop"] == "queue"
    assert [config.flat()["loop"] for config in found] == ["fixed", "fixed"]


def test_settings_of_a_file_are_overridden_by_options(
    pca_run: Path, tmp_path: Path, fails: Fails
) -> None:
    stored = RunFolder(pca_run).read_config()
    file = str(pca_run / "config.json")
    for number, (options, settings) in enumerate(
        [((), {}), (("--components", "1"), {"components": 1})]
    ):
        run = tmp_path / str(number)
        train.main(["--config", file, *options, "--run", str(run)])
        assert RunFolder(run).read_config() == stored.with_settings(settings)
    for name, value in (("method", "l2_ae"), ("preset", "paper")):
        message = fails(train.main, ["--config", file, f"--{name}", value])
        assert f"--{name} {value}: {file} has its own {name}; leave one of them out" in message
    assert "a run that is resumed has its own" in fails(
        train.main, ["--config", file, "--resume", "--run", tmp_path / "run"]
    )
    values = json.loads((pca_run / "config.json").read_text())
    del values["seed"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    message = fails(train.main, ["--config", tmp_path / "config.json"])
    assert f"{tmp_path / 'config.json'}: seed is missing; give config.json of a run" in message
    assert "missing.json: missing" in fails(train.main, ["--config", tmp_path / "missing.json"])
