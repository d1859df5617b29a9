"""Speed of the diffusion generator, and whether an image depends on its place in a batch.

    python benchmarks/generate.py --out results/generate.json          # on a GPU: some ten minutes
    python benchmarks/generate.py --tiny                               # anywhere: seconds, of small architectures

The architectures are SD-Turbo (Stable Diffusion 2.1) and Stable Diffusion 1.5, built here with random weights: speed
does not depend on the weights, and nothing is downloaded. Each speed stands beside that of a plain diffusers loop with
the same weights, decoder and dtype, which takes one prompt at a time, and beside the 790 TFLOP/s that a matrix product
in bfloat16 reaches on an H100 or H200.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dnr_env.models.device import FixedBatches
from dnr_env.models.generator import DiffusionGenerator

SUSTAINED = 790.0  # TFLOP/s
MODES: dict[str, dict[str, Any]] = {
    "turbo, KL": {"model": "turbo", "steps": 1, "guidance": 0.0, "tiny_vae": False, "tflop": 3.32},
    "turbo, tiny VAE": {"model": "turbo", "steps": 1, "guidance": 0.0, "tiny_vae": True, "tflop": 0.95},
    "50 steps, KL": {"model": "sd1", "steps": 50, "guidance": 7.5, "tiny_vae": False, "tflop": 82.9},
}
"""TFLOP of one image of 512 pixels, attention included, text encoder left out."""
UNET: dict[str, dict[str, Any]] = {
    "turbo": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "sd1": {"cross_attention_dim": 768, "attention_head_dim": 8},
}
TEXT: dict[str, dict[str, Any]] = {
    "turbo": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16},
    "sd1": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
}
ADJECTIVES = ("red", "green", "blue", "small", "large", "striped", "dotted")
NOUNS = ("dog", "cat", "bird", "fish", "tree", "house", "car", "boat", "face")
CONCEPTS = [f"{adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS]


def tokenizer() -> Any:
    """One token a letter; every prompt is filled up to 77 tokens anyway."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def build(folder: Path, model: str, tiny: bool) -> None:
    """Writes a checkpoint with random weights."""
    unet, text = dict(UNET[model]), dict(TEXT[model])
    if tiny:
        unet |= {"cross_attention_dim": 32, "attention_head_dim": 4, "block_out_channels": (16,) * 4}
        unet |= {"norm_num_groups": 4, "layers_per_block": 1}
        text |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    marks: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    channels, layers, groups = ((8,) * 4, 1, 4) if tiny else ((128, 256, 512, 512), 2, 32)
    vae = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=layers,
        norm_num_groups=groups,
    )
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(CLIPTextConfig(**text, **marks, max_position_embeddings=77)),
        tokenizer=tokenizer(),
        unet=UNet2DConditionModel(sample_size=64, **unet),
        scheduler=EulerDiscreteScheduler(**schedule, timestep_spacing="trailing", steps_offset=1)
        if model == "turbo"
        else DDIMScheduler(**schedule, clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float32 if tiny else torch.bfloat16).save_pretrained(folder)


def build_tiny_vae(folder: Path, tiny: bool) -> None:
    """Writes a small decoder with random weights."""
    channels = (8 if tiny else 64,) * 4
    vae: Any = AutoencoderTiny(encoder_block_out_channels=channels, decoder_block_out_channels=channels)
    vae.to(torch.float32 if tiny else torch.bfloat16).save_pretrained(folder)


def speed(draw: Callable[[int], int], seconds: float) -> float:
    """Images a second of `draw(round)`, which says how many it has drawn; the first round warms up."""
    draw(0)
    begin, images, rounds = time.perf_counter(), 0, 0
    while rounds < 2 or time.perf_counter() - begin < seconds:
        rounds += 1
        images += draw(rounds)
    return images / (time.perf_counter() - begin)


def plain_speed(folder: Path, tiny_vae: Path | None, mode: dict[str, Any], options: argparse.Namespace) -> float:
    """Images a second of diffusers as its documentation shows it."""
    dtype = getattr(torch, options.dtype)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=dtype)
    if tiny_vae:
        pipeline.vae = AutoencoderTiny.from_pretrained(tiny_vae, dtype=dtype)
    pipeline.to(options.device).set_progress_bar_config(disable=True)

    def draw(number: int) -> int:
        pipeline(
            f"a photo of {CONCEPTS[number % len(CONCEPTS)]}",
            generator=torch.Generator().manual_seed(number),
            num_inference_steps=mode["steps"],
            guidance_scale=mode["guidance"],
            height=options.size,
            width=options.size,
            output_type="np",
        )
        return 1

    return speed(draw, options.seconds)


def free() -> None:
    """Gives memory back before the next model is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def permuted(generator: DiffusionGenerator, batch: int) -> int:
    """The largest difference of a pixel, of 255, between a batch and the same rows in another order."""
    concepts, seeds = [CONCEPTS[i] for i in range(batch)], list(range(batch))
    order = np.random.default_rng(0).permutation(batch)
    images = generator.generate(concepts, seeds)[order].astype(int)
    return int(np.abs(images - generator.generate([concepts[i] for i in order], [seeds[i] for i in order])).max())


def measure(folders: dict[str, Path], options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Every mode at every batch size."""
    speeds, permutation = [], []
    for name, mode in MODES.items():
        if options.modes and name not in options.modes:
            continue
        tiny_vae = folders["vae"] if mode["tiny_vae"] else None
        free()
        plain = plain_speed(folders[mode["model"]], tiny_vae, mode, options)
        free()
        generator = DiffusionGenerator(
            str(folders[mode["model"]]),
            steps=mode["steps"],
            guidance=mode["guidance"],
            size=options.size,
            device=options.device,
            dtype=options.dtype,
            compile=options.compile,
            tiny_vae=str(tiny_vae) if tiny_vae else None,
        )
        for batch in options.batches:
            free()
            generator._batches = batches = FixedBatches("generator.batch", batch)

            def draw(number: int, batch: int = batch, generator: DiffusionGenerator = generator) -> int:
                first = number * batch  # ten images of a concept, as a search asks for them
                concepts = [CONCEPTS[i // 10 % len(CONCEPTS)] for i in range(first, first + batch)]
                return len(generator.generate(concepts, range(first, first + batch)))

            rate = speed(draw, options.seconds)
            if batches.size < batch:
                print(f"{name}: {batch} images do not fit, {batches.size} do", flush=True)
                break
            peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
            fraction = None if options.tiny else rate * mode["tflop"] / SUSTAINED
            row = {"mode": name, "batch": batch, "images_per_s": rate, "plain_images_per_s": plain}
            speeds.append(row | {"ratio": rate / plain, "fraction": fraction, "peak_gib": peak})
            permutation.append({"mode": name, "batch": batch, "max_difference": permuted(generator, batch)})
        if generator.replaced:
            raise SystemExit(f"{name}: the random weights draw black images, which spoils the speeds")
        del generator
    return {"speeds": speeds, "permutation": permutation}


def table(result: dict[str, list[dict[str, Any]]]) -> str:
    """In Markdown."""
    lines = [
        "| mode | batch | images/s | plain loop | ratio | of 790 TFLOP/s | peak GiB | rows permuted, of 255 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, check in zip(result["speeds"], result["permutation"], strict=True):
        fraction = "" if row["fraction"] is None else f"{row['fraction']:.1%}"
        peak = "" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
        lines.append(
            f"| {row['mode']} | {row['batch']} | {row['images_per_s']:.2f} | {row['plain_images_per_s']:.2f} | "
            f"{row['ratio']:.2f} | {fraction} | {peak} | {check['max_difference']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Builds, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small architectures on the CPU")
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes, ascending")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), help="all by default")
    parser.add_argument("--seconds", type=float, help="at least this long a speed is measured")
    parser.add_argument("--compile", action="store_true", help="torch.compile the denoiser and the decoder")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    options.device = "cpu" if options.tiny else "cuda"
    options.dtype, options.size = ("float32", 64) if options.tiny else ("bfloat16", 512)
    options.batches = options.batches or ([4] if options.tiny else [1, 4, 8, 16, 32])
    options.seconds = options.seconds if options.seconds is not None else (0.0 if options.tiny else 10.0)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name for name in ("turbo", "sd1", "vae")}
        for name in ("turbo", "sd1"):
            build(folders[name], name, options.tiny)
        build_tiny_vae(folders["vae"], options.tiny)
        result = measure(folders, options)
    device = "CPU" if options.tiny else torch.cuda.get_device_name()
    print(f"{device}, torch {torch.__version__}, diffusers {diffusers.__version__}, {options.dtype}, ", end="")
    print(f"{options.size} px{', compiled' if options.compile else ''}\n\n{table(result)}")
    if options.out:
        versions = {"device": device, "torch": torch.__version__, "diffusers": diffusers.__version__}
        settings = {"dtype": options.dtype, "size": options.size, "compile": options.compile}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(versions | settings | result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
