"""Models of open_clip by name, hub id or folder: configuration, weights and tokenizer, each when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError, unknown
from dnr_env.models.hub import Source, file_digest, find, loading, needed

if TYPE_CHECKING:
    import torch

_CONFIG = "open_clip_config.json"
_HUB_FILES = ["*.json", "*.txt", "*.model", "open_clip*.safetensors"]
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt", "vocab.json")


class OpenClip:
    """A model of open_clip, wherever its weights are; nothing is loaded before it is asked for.

    Args:
        option: the option that names the model, for errors.
        model: a name of open_clip, as "ViT-B-16"; or "hf-hub:organisation/name", with "@revision" if need be; or a
            folder with `open_clip_config.json` and safetensors.
        pretrained: tag of the weights, or a file of them, where the model is a name.
    """

    def __init__(self, option: str, model: str, pretrained: str | None = None) -> None:
        self.option = option
        self.model = model
        self.pretrained = pretrained
        self._elsewhere = model.startswith(("hf-hub:", "local-dir:")) or Path(model).is_dir()

    @cached_property
    def _tag(self) -> dict[str, Any]:
        """What open_clip knows of the tag; empty for a file and where there is no tag."""
        with needed():
            import open_clip
            from open_clip import pretrained
        if self.model not in open_clip.list_models():
            raise unknown(self.option, self.model, open_clip.list_models())
        if self.pretrained is None or Path(self.pretrained).is_file():
            return {}
        tags = open_clip.list_pretrained_tags_by_model(self.model)
        config: dict[str, Any] = pretrained.get_pretrained_cfg(self.model, self.pretrained)
        if not config:
            raise unknown(self.option, f"{self.model}/{self.pretrained}", [f"{self.model}/{tag}" for tag in tags])
        return config

    @cached_property
    def _source(self) -> Source | None:
        """The folder or hub repository of the weights; None for a file, an address, or no weights."""
        if self._elsewhere:
            name, _, revision = self.model.removeprefix("hf-hub:").partition("@")
            if self.model.startswith("hf-hub:"):
                return find(self.option, name, revision or None)
            folder = Path(self.model.removeprefix("local-dir:"))
            if not (folder / _CONFIG).is_file():
                raise DnRError(
                    f"{self.option}: {self.model!r} has no {_CONFIG}; a folder in open_clip's layout will do"
                )
            return find(self.option, str(folder))
        repository = self._tag.get("hf_hub", "").rpartition("/")[0]
        return find(self.option, repository) if repository else None

    @cached_property
    def fingerprint(self) -> str:
        """Names the content without loading it.

        Raises:
            DnRError: there is no such model, or the commit of its weights is unknown and cannot be asked for.
        """
        if self._elsewhere:
            return f"open_clip {self._source.fingerprint}" if self._source else ""
        if self._source:
            return f"open_clip {self.model}/{self.pretrained} {self._source.fingerprint}"
        if self.pretrained and not self._tag:
            return f"open_clip {self.model} file@{file_digest(Path(self.pretrained)).hex()[:32]}"
        return f"open_clip {self.model}/{self.pretrained}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's configuration, without its weights."""
        with needed():
            import open_clip
        if not self._elsewhere:
            self._tag  # noqa: B018 - an unknown name is an error
            known: dict[str, Any] = open_clip.get_model_config(self.model)
            return known
        with loading(self.option, self.model):
            read: dict[str, Any] = json.loads(self._file(_CONFIG).read_text(encoding="utf-8"))["model_cfg"]
        return read

    def build(self, weights: bool = True) -> torch.nn.Module:
        """The model on the CPU, in float32; random where `weights` is false.

        Raises:
            DnRError: there is no such model, or it has no weights that can be loaded.
        """
        with needed():
            import open_clip
            from open_clip import pretrained
        with needed(), loading(self.option, self.model):
            fixed = {"precision": "fp32", "weights_only": True, "pretrained_text": False}
            if self._elsewhere:
                folder = self._folder
                if weights and not any(folder.glob("*.safetensors")):
                    raise DnRError(f"{self.option}: {self.model!r} has no safetensors; a model that has them will do")
                name = f"local-dir:{folder}"
                model = open_clip.create_model(name, load_weights=weights, require_pretrained=weights, **fixed)
            else:
                tag, file = self._tag, self.pretrained
                if weights and file is None:
                    tags = open_clip.list_pretrained_tags_by_model(self.model)
                    raise DnRError(f"{self.option}: {self.model!r} needs a tag of weights; known are {', '.join(tags)}")
                if weights and tag and self._source:
                    wanted = tag["hf_hub"].rpartition("/")[2] or None
                    file = pretrained.download_pretrained_from_hf(self._source.id, wanted, self._source.commit)
                elif weights and tag:
                    file = pretrained.download_pretrained(tag)
                # Given a file, open_clip does not know the tag's own activation function and preprocessing.
                model = open_clip.create_model(
                    self.model,
                    str(file) if weights else None,
                    force_quick_gelu=tag.get("quick_gelu", False),
                    force_preprocess_cfg={key: value for key, value in tag.items() if key != "size"},
                    **fixed,
                )
        built: torch.nn.Module = model.eval().requires_grad_(False)
        return built

    def tokenizer(self) -> Callable[[list[str]], torch.Tensor]:
        """Gives a function of n texts to tokens (n, length)."""
        import open_clip

        name = self.model
        with needed(), loading(self.option, self.model):
            if self._elsewhere:
                # A repository can name another's tokenizer; open_clip looks there if asked for the repository.
                borrowed = self.model.startswith("hf-hub:") and self.config["text_cfg"].get("hf_tokenizer_name")
                own = any((self._folder / file).is_file() for file in _TOKENIZERS)
                name = self.model.partition("@")[0] if borrowed and not own else f"local-dir:{self._folder}"
            made: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(name)
        return made

    @cached_property
    def _folder(self) -> Path:
        source = self._source
        if source is None or source.commit is None:
            return Path(source.id if source else self.model)
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(source.id, revision=source.commit, allow_patterns=_HUB_FILES))

    def _file(self, name: str) -> Path:
        source = self._source
        if source is None or source.commit is None:
            return Path(source.id if source else self.model) / name
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(source.id, name, revision=source.commit))
