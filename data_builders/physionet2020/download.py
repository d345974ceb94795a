"""The archive from PhysioNet, file by file, checked against its list of checksums; a second call goes on.

PhysioNet also offers one ZIP file, packed on demand, without a checksum, and not resumable: hence single files.
"""

import hashlib
import pathlib
import re
from typing import Any

import tqdm

from lrhnet_jax.errors import DataError

HOMEPAGE = "https://physionet.org/content/challenge-2020/1.0.2/"
FILES = "https://physionet.org/files/challenge-2020/1.0.2/"
CHUNK = 512  # files that are asked for at once, and lost by a kill

_LINE = re.compile(r"([0-9a-f]{64})\s+\*?(\S+)")
_RECORD = re.compile(r"training/[\w-]+(?:/[\w-]+)*/\w+\.(?:hea|mat)")


def fetch(dl_manager: Any) -> pathlib.Path:
    """Downloads what is missing of the training records.

    Args:
      dl_manager: tfds.download.DownloadManager.

    Returns:
      The folder that holds training/SOURCE/g*/NAME.{hea,mat}: "challenge-2020-1.0.2" in the manager's download folder.

    Raises:
      DataError: if the download stops or a file's checksum is wrong; what is complete stays, and is not asked again.
    """
    folder = pathlib.Path(dl_manager.download_dir) / "challenge-2020-1.0.2"
    wanted = parse_checksums(_download(dl_manager, {"list": FILES + "SHA256SUMS.txt"}, folder)["list"].read_text())
    missing = [name for name in sorted(wanted) if not (folder / name).exists()]
    broken = []
    with tqdm.tqdm(
        total=len(wanted), initial=len(wanted) - len(missing), desc="download", unit="file", disable=None
    ) as bar:
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            for name, path in _download(dl_manager, {name: FILES + name for name in chunk}, folder).items():
                # What TFDS noted of the file would stand in the way of another try.
                path.with_name(f"{path.name}.INFO").unlink(missing_ok=True)
                if hashlib.sha256(path.read_bytes()).hexdigest() == wanted[name]:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    path.replace(folder / name)  # in one step: a file in its place has been checked
                else:
                    path.unlink()
                    broken.append(name)
            bar.update(len(chunk))
    if broken:
        raise DataError(
            f"{len(broken)} files from {FILES} have wrong checksums (the first is {broken[0]}); "
            "run the same command again: only these are downloaded"
        )
    return folder


def parse_checksums(text: str) -> dict[str, str]:
    """Returns the SHA-256 of each training record's files, from PhysioNet's SHA256SUMS.txt.

    Raises:
      DataError: if there is none in it.
    """
    lines = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    wanted = {line[2].removeprefix("./"): line[1] for line in lines if line}
    wanted = {name: digest for name, digest in wanted.items() if _RECORD.fullmatch(name)}
    if not wanted:
        raise DataError(f"{FILES}SHA256SUMS.txt lists no training record; is {HOMEPAGE} still there?")
    return wanted


def _download(dl_manager: Any, urls: dict[str, str], folder: pathlib.Path) -> dict[str, pathlib.Path]:
    try:
        return {name: pathlib.Path(path) for name, path in dl_manager.download(urls).items()}
    except Exception as error:  # requests, urllib3 and TFDS each have their own
        raise DataError(
            f"the download from {FILES} stopped ({type(error).__name__}: {error}); run the same command again to "
            f"resume (what is complete is in {folder}), or download it by other means (wget -r -N -c -np {FILES}) "
            "and give that folder as --raw_dir"
        ) from error
