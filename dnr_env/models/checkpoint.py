"""Weight files with an address of their own, which torch.hub keeps in its folder of checkpoints."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from dnr_env.errors import DnRError
from dnr_env.models.hub import PATIENCE_S


def checkpoint(url: str) -> Path:
    """The file that torch.hub keeps of an address, whether it exists or not."""
    import torch

    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])


def download_size(setting: str, url: str) -> int:
    """Ask a server how many bytes a file has, which also shows at once whether it can be reached.

    Args:
        setting: the setting that needs the file, for error messages.
        url: the file's address.

    Raises:
        DnRError: downloading is forbidden, or the server does not answer or does not have the file.
    """
    needs = f"{setting} needs {checkpoint(url).name}, which is not in torch.hub's checkpoints"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DnRError(f"{needs}, and HF_HUB_OFFLINE forbids downloading it")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE_S) as answer:
            return int(answer.headers.get("Content-Length") or 0)
    except urllib.error.HTTPError as error:
        raise DnRError(f"{needs}, and {urlsplit(url).hostname} does not give it: {error}") from error
    except OSError as error:
        raise DnRError(f"{needs}, and {urlsplit(url).hostname} cannot be reached: load it once while online") from error
