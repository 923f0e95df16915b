"""`scwm export`: the file gives what the model gives, also where nothing of the suite is."""

import sys

import numpy as np
import pytest
import torch

import scwm
from scwm.cli.main import main
from scwm.core.errors import ScwmError
from scwm.core.files import read_json
from scwm.inference import export as module

RUN = "results/runs/mannequins/scwm/seed0"


@pytest.fixture(scope="module")
def crops(toy_store) -> np.ndarray:
    return np.array(toy_store.split("query").images)


def as_input(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("feature", ["global", "parts", "both"])
def test_torchscript_gives_the_librarys_features(trained, crops, tmp_path, feature):
    out = tmp_path / "model.pt"
    assert main(["export", str(trained / RUN), "--feature", feature, "--out", str(out)]) == 0
    found = torch.jit.load(out)(as_input(crops)).detach().numpy()
    expected = scwm.extract(scwm.load_model(trained / RUN), crops, feature)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_onnx_gives_the_librarys_features(trained, crops, tmp_path):
    import onnxruntime

    out = tmp_path / "model.onnx"
    assert main(["export", str(trained / RUN), "--out", str(out)]) == 0
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    found = session.run(None, {"crops": as_input(crops).numpy()})[0]
    expected = scwm.extract(scwm.load_model(trained / RUN), crops)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_safetensors_is_a_model_again(trained, crops, tmp_path):
    out = tmp_path / "model.safetensors"
    assert main(["export", str(trained / RUN), "--out", str(out)]) == 0
    model, again = scwm.load_model(trained / RUN), scwm.load_model(out)
    assert again.config == model.config
    assert np.array_equal(scwm.extract(again, crops), scwm.extract(model, crops))
    assert np.array_equal(scwm.parse(again, crops), scwm.parse(model, crops))
    for damaged in (b"", out.read_bytes()[:100]):
        out.write_bytes(damaged)
        with pytest.raises(ScwmError, match="Not a model of this suite"):
            scwm.load_model(out)


def test_half_of_the_bytes_are_nearly_the_model(trained, crops, tmp_path, capsys):
    whole, half = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert main(["export", str(trained / RUN), "--out", str(whole)]) == 0
    assert main(["export", str(trained / RUN), "--half", "--out", str(half)]) == 0
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    model, again = scwm.load_model(whole), scwm.load_model(half)
    assert {v.dtype for v in again.network.parameters()} == {torch.float32}
    cosines = (scwm.extract(again, crops) * scwm.extract(model, crops)).sum(1)
    assert (cosines > 0.995).all(), cosines
    assert main(["export", str(trained / RUN), "--half", "--out", str(tmp_path / "c.pt")]) == 1
    assert "Only .safetensors can hold float16" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["onnx"])
def test_absent_package_is_told(trained, tmp_path, capsys, monkeypatch, package):
    for name in {package, f"{package}.torch"}:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    out = tmp_path / f"model.{package}"
    assert main(["export", str(trained / RUN), "--out", str(out)]) == 1
    assert f"package {package}" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_file_that_says_something_else_is_not_kept(trained, tmp_path, monkeypatch):
    model = scwm.load_model(trained / RUN)
    wrong = {".pt": lambda crops, *_: lambda batch: crops(batch) + 0.01}
    monkeypatch.setattr(module, "WRITERS", wrong)
    with pytest.raises(ScwmError, match=r"differ by up to 0\.01"):
        module.export(model, trained / RUN, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ScwmError, match=r"use \.pt"):
        module.export(model, trained / RUN, tmp_path / "model.tflite")


def test_card_tells_what_is_known(trained, tmp_path):
    main(["export", str(trained / RUN), "--out", str(tmp_path / "model.pt")])
    card = (tmp_path / "model.md").read_text()
    metrics = read_json(trained / RUN / "metrics.json")
    assert f"{100 * metrics['features']['global']['mAP']:.1f}" in card
    record = read_json(trained / RUN / "provenance.json")
    for wanted in (record["config_hash"], "Mannequins", "(B,3,64,32)", "## Limits", "mobilenet_v2"):
        assert wanted in card
    bare = tmp_path / "bare"
    bare.mkdir()
    module.export(scwm.load_model(trained / RUN), bare, tmp_path / "bare.pt")
    assert "Unknown: there are no scores next to the model." in (tmp_path / "bare.md").read_text()


def test_an_export_replaces_no_run_and_no_text_of_the_users(trained, tmp_path):
    run = trained / RUN
    model = scwm.load_model(run)
    before = (run / "model.pt").read_bytes()
    for out in (run / "model.pt", run / "exported.pt"):
        with pytest.raises(ScwmError, match="would lie in a run"):
            module.export(model, run, out)
    assert (run / "model.pt").read_bytes() == before
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ScwmError, match="another file has this name"):
        module.export(model, run, tmp_path / "README.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    for _ in range(2):
        module.export(model, run, tmp_path / "model.safetensors")
    with pytest.raises(ScwmError, match="is the model itself"):
        module.export(model, tmp_path / "model.safetensors", tmp_path / "model.safetensors")
