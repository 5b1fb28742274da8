import os
import subprocess
import sys
import zipfile

from support import ROOT, SAMPLES


def test_the_wheel_carries_both_models_and_works_from_any_folder(tmp_path):
    settings = tmp_path / "settings.cfg"
    settings.write_text(f"[build]\nbuild_base = {tmp_path / 'build'}\n")
    build = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--quiet"]
    env = {**os.environ, "DIST_EXTRA_CONFIG": str(settings)}
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True, env=env)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 60e6
    with zipfile.ZipFile(wheel) as archive:
        assert {
            "rivulet/checkpoints/default/model.safetensors",
            "rivulet/checkpoints/tiny/model.safetensors.xz",
            "rivulet/checkpoints/default/lm/graph.bin",
            "rivulet/checkpoints/tiny/lm/graph.bin.xz",
        } <= set(archive.namelist())
        sources = ("/_beam/", "/_tagger/", ".pyc")
        assert not any(part in name for part in sources for name in archive.namelist())
        archive.extractall(tmp_path / "site")
    out = subprocess.run(
        [sys.executable, "-m", "rivulet", "transcribe", str(SAMPLES / "slt.flac")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    assert len(out.stdout.split()) >= 5


def test_cli_is_a_shim():
    out = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "--version"], capture_output=True, text=True
    )
    assert out.stdout.startswith("rivulet ")
