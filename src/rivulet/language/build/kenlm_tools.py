"""KenLM's programs `lmplz` and `build_binary` (Heafield 2011; Heafield et al. 2013)."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from rivulet.errors import ConfigError, LanguageModelError

ENVIRONMENT = "RIVULET_KENLM"  # a folder that holds the two programs
PROGRAMS = ("lmplz", "build_binary")
VERSION = "0.3.0"
SHA256 = "c4628bb9fb63c8a6f9240035b8b037385cfc404cb72e933cf48878291edac1e8"  # its sdist on PyPI
ORDERS = range(2, 7)  # a trie needs a bigram; KenLM is compiled for 6
QUANTIZED = ("-q", "8", "-b", "8", "-a", "22")  # bits: probability, back-off; pointer compression
INSTALL = (
    "build them with `rivulet lm tools`, put them on the PATH, "
    f"or name their folder in {ENVIRONMENT}"
)
NEEDED = "`apt install cmake g++ libboost-all-dev zlib1g-dev` or `brew install cmake boost`"


@dataclass(frozen=True)
class Tools:
    """Where the two programs lie."""

    lmplz: Path
    build_binary: Path

    def estimate(
        self,
        text: Path,
        arpa: Path,
        order: int,
        prune: Sequence[int] = (0,),
        vocabulary: Iterable[str] = (),
    ) -> None:
        """Estimate a model with modified Kneser-Ney smoothing and write it as ARPA.

        Args:
            text: one sentence a line.
            arpa: the file to write.
            order: longest n-gram.
            prune: per order, n-grams seen so often or less are dropped; the last value repeats.
            vocabulary: the only words to keep; all words if empty.

        Raises:
            ConfigError: the order or a pruning count is out of range.
            LanguageModelError: lmplz gave up.
        """
        check_order(order, prune)
        with tempfile.TemporaryDirectory(dir=arpa.parent) as folder:
            command = [str(self.lmplz), "--order", str(order), "--discount_fallback"]
            command += ["--memory", "20%", "--temp_prefix", f"{folder}/"]
            command += ["--prune", *map(str, prune), "--text", str(text), "--arpa", str(arpa)]
            words = sorted(vocabulary)
            if words:
                listed = Path(folder) / "vocabulary"
                listed.write_text("\n".join(words), encoding="utf-8")
                command += ["--limit_vocab_file", str(listed)]
            _run(command)

    def binarize(self, arpa: Path, binary: Path) -> None:
        """Write an ARPA file as a quantized trie.

        Raises:
            LanguageModelError: build_binary gave up.
        """
        _run([str(self.build_binary), *QUANTIZED, "trie", str(arpa), str(binary)])


def check_order(order: int, prune: Sequence[int]) -> None:
    """Check what lmplz would refuse.

    Raises:
        ConfigError: the order or a pruning count is out of range.
    """
    if order not in ORDERS:
        raise ConfigError(f"order {order} is not between {ORDERS[0]} and {ORDERS[-1]}; 3 is usual.")
    if len(prune) > order or any(a > b for a, b in zip((0, *prune), prune, strict=False)):
        raise ConfigError(
            f"the pruning counts {' '.join(map(str, prune))} do not suit order {order}; "
            "give one count an order, none negative or smaller than the one before."
        )


def default_folder() -> Path:
    """Return the folder where `rivulet lm tools` puts the programs.

    Raises:
        LanguageModelError: there is no home.
    """
    try:
        return user_cache_path("rivulet") / "kenlm"
    except RuntimeError as error:
        raise LanguageModelError(
            f"there is no home folder ({error}); set HOME, put KenLM's programs "
            f"{' and '.join(PROGRAMS)} on the PATH, or name their folder in {ENVIRONMENT}."
        ) from error


def find() -> Tools:
    """Return the programs from $RIVULET_KENLM, the PATH, or where `rivulet lm tools` puts them.

    Raises:
        LanguageModelError: they are in none of these places.
    """
    named = os.environ.get(ENVIRONMENT)
    for place in [named] if named else [os.environ.get("PATH", ""), None]:
        folder = str(default_folder()) if place is None else place  # a home only where it counts
        found = [shutil.which(name, path=folder) for name in PROGRAMS]
        if all(found):
            return Tools(*(Path(str(path)) for path in found))
    where = f"{named} (${ENVIRONMENT})" if named else f"the PATH or {default_folder()}"
    raise LanguageModelError(
        f"KenLM's programs {' and '.join(PROGRAMS)} are not in {where}; {INSTALL}."
    )


def install(folder: Path | None = None, jobs: int = 1) -> Tools:
    """Fetch KenLM's source with pip, compile the two programs and put them into `folder`.

    Without a folder they go where `find` looks last.

    Raises:
        LanguageModelError: there is no compiler, no network, or compiling failed.
    """
    folder = default_folder() if folder is None else folder
    for name in ("cmake", "make", "c++"):
        if shutil.which(name) is None:
            raise LanguageModelError(f"{name} is not installed; install KenLM's needs: {NEEDED}.")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = _fetch(work)
        build = work / "build"
        _run(["cmake", "-S", str(source), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"], NEEDED)
        _run(["make", "-C", str(build), f"-j{jobs}", *PROGRAMS], NEEDED)
        folder.mkdir(parents=True, exist_ok=True)
        for program in PROGRAMS:
            shutil.copy2(build / "bin" / program, folder / program)
    return Tools(*(folder / program for program in PROGRAMS))


def _fetch(work: Path) -> Path:
    """Download and unpack the source distribution; return its folder."""
    wanted = work / "requirements.txt"
    wanted.write_text(f"kenlm=={VERSION} --hash=sha256:{SHA256}\n", encoding="ascii")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "kenlm"]
    _run([*pip, "--dest", str(work), "--requirement", str(wanted)], "pip and a network")
    (archive,) = work.glob("kenlm-*.tar.gz")
    shutil.unpack_archive(archive, work)
    return work / archive.name.removesuffix(".tar.gz")


def _run(command: Sequence[str], needs: str = "") -> None:
    """Run a program in silence; of its complaints the last line is passed on."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        said = lines[-1].strip() if lines else "it said nothing"
        raise LanguageModelError(
            f"{Path(command[0]).name} failed with status {done.returncode} ({said})"
            + (f"; it needs {needs}." if needs else ".")
        )
