"""Memory and time of RealRestorer on the GPU at hand, with random weights of full size.

    PYTHONPATH=. python benchmarks/realrestorer_gpu.py --output benchmarks/results/realrestorer_gpu.json
    PYTHONPATH=. python benchmarks/realrestorer_gpu.py --card model_cards/realrestorer.md   # only fills the table

Everything on the card and each way to offload come first, so that a run that is cut short compares them on one
card; then 8-bit weights, compiled blocks and attention backends. Each runs inside the memory that its plan
promises. What is measured is written after each run, and nothing is started once `--seconds` are over.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

from ggt_hub.converters.realrestorer import build_autoencoder, build_denoiser, published_scheduler
from ggt_hub.pipelines.realrestorer import MemoryConfig, Plan, RealRestorerPipeline
from ggt_hub.pipelines.realrestorer.memory import _plan
from tests.pipelines.tiny_realrestorer import tiny_pipeline, tiny_processor

RESULTS = Path(__file__).parent / "results/realrestorer_gpu.json"
KEYS = Path(__file__).parents[1] / "tests/data/realrestorer/published_keys.json"
GB = 10**9
PASS = 169e12  # operations of one pass over one picture of 1024x1024
BEGIN, END = "<!-- memory: filled by benchmarks/realrestorer_gpu.py -->", "<!-- end of memory -->"
PLACEMENTS = {"none": "all on the device", "model": "one network at a time", "group": "streamed by block"}
TEXT = {
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
}
VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31],
}


def full_pipeline(device: torch.device) -> RealRestorerPipeline:
    """The published sizes in bfloat16, the autoencoder in float32, drawn on the device."""
    keys = json.loads(KEYS.read_text(encoding="utf-8"))
    shapes = {part: {name: tuple(shape) for name, shape in keys[part].items()} for part in keys}
    processor = tiny_processor()
    picture = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    with torch.device("meta"):
        config = Qwen2_5_VLConfig(text_config=TEXT, vision_config=VISION, image_token_id=picture)
        encoder = Qwen2_5_VLModel(config)
    parts = {
        **build_denoiser(shapes["transformer"], {}),
        **build_autoencoder(shapes["vae"], {}),
        "text_encoder": encoder,
    }
    for name, network in parts.items():
        network.to(torch.float32 if name == "vae" else torch.bfloat16).to_empty(device=device).eval()
        for tensor in network.parameters():
            torch.nn.init.normal_(tensor, std=0.02)
    for module in encoder.modules():  # tables that are computed, not stored
        if hasattr(module, "inv_freq"):
            steps = torch.arange(module.inv_freq.numel(), device=device) / module.inv_freq.numel()
            module.inv_freq.copy_(10_000.0**-steps)
    return RealRestorerPipeline(**parts, scheduler=published_scheduler(), processor=processor)


def cases(pipe_of: Callable[[], RealRestorerPipeline]) -> Iterator[tuple[str, Plan, dict[str, Any]]]:
    """Name, plan and options of each run, in the order of what matters most."""
    config = MemoryConfig.of(pipe_of())
    for offload in ("none", "model", "group"):
        yield f"bf16 {offload}", _plan(config, offload), {}
    yield "bf16 group 24 GB", _plan(config, "group", 24 * GB), {}
    float8 = MemoryConfig.of(pipe_of(), float8=True)
    for offload in ("none", "model"):
        yield f"float8 {offload}", _plan(float8, offload), {}
    compiled = MemoryConfig.of(pipe_of(), compile=True)
    yield "bf16 none compiled", _plan(compiled, "none"), {}
    yield "bf16 none fused", _plan(config, "none"), {"fuse": True}
    for backend in ("_native_cudnn", "_native_flash", "_native_efficient"):  # last: each stays the default
        yield f"bf16 none {backend}", _plan(config, "none"), {"backend": backend}


def measure(
    pipe: RealRestorerPipeline,
    plan: Plan,
    device: torch.device,
    call: dict[str, Any],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Set-up, first and later seconds, and peaks, inside the memory that the plan promises."""
    cuda = device.type == "cuda"
    seconds = [stopwatch(lambda: plan.apply(pipe, device), cuda)]
    if cuda:
        torch.cuda.empty_cache()
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(plan.device / whole, 1.0), device)
        torch.cuda.reset_peak_memory_stats(device)
    if "backend" in options:
        pipe.transformer.set_attention_backend(options["backend"])
    if "fuse" in options:
        pipe.transformer.fuse_qkv_projections()
    image = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    for _ in range(2):
        generator = torch.Generator().manual_seed(0)
        seconds.append(stopwatch(lambda g=generator: pipe(image, task="rain", generator=g, **call), cuda))
    found = dict(zip(("set_up_s", "first_s", "then_s"), (round(one, 2) for one in seconds), strict=True))
    passes = 2 * call["num_inference_steps"] * PASS * (call["size_level"] / 1024) ** 2
    if cuda:
        found["allocated_gb"] = round(torch.cuda.max_memory_allocated(device) / GB, 2)
        found["reserved_gb"] = round(torch.cuda.max_memory_reserved(device) / GB, 2)
        found["tflops"] = round(passes / seconds[-1] / 1e12)
    return found


def stopwatch(work: Callable[[], Any], cuda: bool) -> float:
    began = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All cases within the time; what fails is a result too."""
    device, began = torch.device(arguments.device), time.perf_counter()
    pipe_of = tiny_pipeline if arguments.tiny else lambda: full_pipeline(device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    call = {
        "num_inference_steps": 2 if arguments.tiny else arguments.steps,
        "size_level": 48 if arguments.tiny else 1024,
    }
    known = {"card": card, "torch": torch.__version__, "weights": "random", "tiny": arguments.tiny, **call}
    results: list[dict[str, Any]] = []
    for name, plan, options in cases(tiny_pipeline if arguments.tiny else shell):
        if time.perf_counter() - began > arguments.seconds:
            break
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        result = {
            "run": name,
            **known,
            "planned_gb": round(plan.device / GB, 2),
            "host_gb": round(plan.host / GB, 2),
        }
        pipe = pipe_of()
        pipe.set_progress_bar_config(disable=True)
        try:
            result |= measure(pipe, plan, device, call, options)
        except (
            RuntimeError,
            ValueError,
            ImportError,
        ) as error:  # out of memory, or a kernel that is not there
            result["failed"] = " ".join(str(error).split())[:200]
        del pipe
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        results.append(result)
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(result), flush=True)
    return results


def shell() -> RealRestorerPipeline:
    """A pipeline of full size that takes no memory."""
    return full_pipeline(torch.device("meta"))


def table(results: list[dict[str, Any]]) -> str:
    """The card's table: what is planned, always computed; what was measured, and where."""
    measured = {result["run"]: result for result in results if not result["tiny"]}
    lines = [
        "| weights | placement | device memory (planned) | main memory (planned) | measured |",
        "|---|---|---|---|---|",
    ]
    for float8, weights in ((False, "bfloat16"), (True, "8-bit (float8 storage)")):
        for offload, placement in PLACEMENTS.items():
            plan = _plan(MemoryConfig(float8=float8), offload)
            host = f"{plan.host / GB:.1f} GB" if plan.host else "-"
            said = _said(measured.get(f"{'float8' if float8 else 'bf16'} {offload}"))
            lines.append(f"| {weights} | {placement} | {plan.device / GB:.1f} GB | {host} | {said} |")
    return "\n".join(lines)


def _said(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not measured"
    if "failed" in result:
        return f"failed on {result['card']}: {result['failed']}"
    memory = f", {result['reserved_gb']} GB reserved" if "reserved_gb" in result else ""
    return f"{result['then_s']} s{memory} on {result['card']}, torch {result['torch']}"


def fill(card: Path, results: list[dict[str, Any]]) -> None:
    """Put the table between its marks in the card."""
    before, _, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    card.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the program itself")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--only", action="append", help="runs whose name begins so")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--card", type=Path, help="fill this card's table from what was measured, and run nothing"
    )
    arguments = parser.parse_args(argv)
    if arguments.card is None:
        run(arguments)
    else:
        output = arguments.output
        fill(arguments.card, json.loads(output.read_text(encoding="utf-8")) if output.is_file() else [])


if __name__ == "__main__":
    main()
