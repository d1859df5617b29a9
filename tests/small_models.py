"""Checkpoints of the real classes with random weights and their own words, built in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = [
    "a", "an", "the", "of", "on", "in", "with", "and", "photo", "picture", "red", "green", "blue", "yellow",
    "black", "white", "small", "large", "round", "square", "striped", "dotted", "star", "ring", "cross", "heart",
    "dog", "cat", "bird", "fish", "tree", "house", "car", "boat", "face", "eye", "wheel", "grass", "sky", "water",
    "near", "under",
]  # fmt: skip
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def small_diffusion(folder: Path, seed: int = 0, dim: int = 32) -> Path:
    """Save a StableDiffusionPipeline whose 32-pixel images differ by prompt and by seed."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.manual_seed(seed)
    pipeline = StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=_louder(_text_encoder(dim), 3.0),
        tokenizer=_clip_tokenizer(),
        unet=_louder(_unet(dim), 1.5),
        scheduler=DDIMScheduler(  # starts from pure noise even in a single step, as a turbo model needs
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            steps_offset=1,
            timestep_spacing="trailing",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def small_xl(folder: Path, seed: int = 0, dim: int = 32) -> Path:
    """Save a StableDiffusionXLPipeline of the same size, with two text encoders."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    torch.manual_seed(seed)
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_louder(_text_encoder(dim), 3.0),
        text_encoder_2=_louder(_text_encoder(dim, projected=True), 3.0),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=_louder(
            _unet(
                2 * dim,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + dim,
            ),
            1.5,
        ),
        scheduler=EulerDiscreteScheduler(timestep_spacing="trailing"),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_vae(folder: Path, seed: int = 0) -> Path:
    """Save an AutoencoderTiny that decodes the latents of both pipelines."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(seed)
    decoder = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    _louder(decoder, 2.0).save_pretrained(folder)
    return folder


def small_captioner(folder: Path, seed: int = 0) -> Path:
    """Save a BlipForConditionalGeneration whose captions consist of `WORDS`."""
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    torch.manual_seed(seed)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS])}
    tokenizer = BertTokenizer(vocab=vocabulary, bos_token="[DEC]", model_max_length=64)
    config = BlipConfig(
        text_config={
            "vocab_size": len(vocabulary), "hidden_size": 32, "encoder_hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "projection_dim": 32,
            "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 32, "patch_size": 8,
        },
        projection_dim=32,
    )  # fmt: skip
    model = _louder(BlipForConditionalGeneration(config).eval(), 10.0)
    _louder(model, 100.0, "patch_embedding")
    _louder(model, 30.0, "crossattention.self.value", "crossattention.output")
    model.save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def small_chat(folder: Path, seed: int = 0) -> Path:
    """Save a Qwen2VLForConditionalGeneration with a chat template, whose captions consist of `WORDS`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    torch.manual_seed(seed)
    marks = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", *marks, "user", "assistant", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="<|im_end|>",
        additional_special_tokens=marks, padding_side="right",
    )  # fmt: skip
    pixels = {"patch_size": 4, "temporal_patch_size": 1, "merge_size": 2}
    size = {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(vocabulary), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
            "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
        },
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 4, "patch_size": 4,
            "spatial_merge_size": 2, "temporal_patch_size": 1,
        },
        vision_start_token_id=4, vision_end_token_id=5, image_token_id=6, video_token_id=7,
    )  # fmt: skip
    model = _louder(Qwen2VLForConditionalGeneration(config).eval(), 10.0)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 3, 0
    model.save_pretrained(folder)
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size, **pixels),
        chat_template=CHAT,
    )
    processor.save_pretrained(folder)
    return folder


def small_language(folder: Path, seed: int = 0) -> Path:
    """Save a GPT2LMHeadModel of letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*letters, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = vocabulary["<end>"]
    config = GPT2Config(
        vocab_size=len(vocabulary), n_positions=2000, n_embd=16, n_layer=2, n_head=2, eos_token_id=end, bos_token_id=end
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        GPT2LMHeadModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    return folder


def small_network(folder: Path, seed: int = 0) -> Path:
    """Save a ViTModel with its image processor."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    ViTModel(ViTConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def pickled(folder: Path) -> Path:
    """Replace the safetensors of a checkpoint by PyTorch's own pickles, in place."""
    from safetensors.torch import load_file

    for file in folder.rglob("*.safetensors"):
        name = "pytorch_model.bin" if file.name == "model.safetensors" else file.with_suffix(".bin").name
        torch.save(load_file(file), file.with_name(name))
        file.unlink()
    return folder


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
    )


def _unet(context: int, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=4,
        cross_attention_dim=context,
        sample_size=4,
        **more,
    )


def _text_encoder(dim: int, projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(_clip_vocabulary()), hidden_size=dim, projection_dim=dim, intermediate_size=2 * dim,
        num_hidden_layers=2, num_attention_heads=4, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _clip_vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789{}.,"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return {token: i for i, token in enumerate(tokens)}


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab=_clip_vocabulary(), merges=[], model_max_length=77)  # one token per letter


def _louder(model: Any, factor: float, *parts: str) -> Any:
    """Scale the weights of the named parts, or of all: a fresh model hardly distinguishes its inputs."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and (not parts or any(part in name for part in parts)):
                parameter.mul_(factor)
    return model
