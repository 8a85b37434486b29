"""Memory and time of DreamClear on the GPU at hand, with random weights of full size.

    PYTHONPATH=. python benchmarks/dreamclear_gpu.py --output benchmarks/results/dreamclear_gpu.json
    PYTHONPATH=. python benchmarks/dreamclear_gpu.py --card model_cards/dreamclear.md   # only fills the table

Each run is within the memory that its plan promises. What is measured is written after each, and nothing is started
once `--seconds` are over. Few steps are taken; 50 are extrapolated from the seconds of one.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

import benchmarks.bare  # noqa: F401
from ggt_hub.models import DreamClearTransformer2DModel, SwinIR
from ggt_hub.pipelines.dreamclear import DreamClearPipeline, MemoryConfig, published_scheduler
from ggt_hub.pipelines.dreamclear.memory import demand
from ggt_hub.pipelines.placement import Placement, Plan
from tests.pipelines.tiny_dreamclear import tiny_pipeline

RESULTS = Path(__file__).parent / "results/dreamclear_gpu.json"
GB = 10**9
PUBLISHED_STEPS = 50
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense operations per second in 16 bits
BEGIN, END = "<!-- memory: filled by benchmarks/dreamclear_gpu.py -->", "<!-- end of memory -->"
PLACEMENTS = {"none": "all on the device", "model": "one network at a time", "group": "streamed by block"}


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        name: of it.
        offload: which way to place networks.
        guided: whether there is a caption.
        side: of the result, in parts of the native size.
        steps: that are taken.
        compiled: whether blocks are compiled.
        fused: whether queries, keys and values are one matrix.
    """

    name: str
    offload: Placement = "none"
    guided: bool = True
    side: int = 1
    steps: int = 4
    compiled: bool = False
    fused: bool = False


CASES = [
    Case("1024, caption"),
    Case("1024, no caption", guided=False),
    Case("1024, caption, one network at a time", "model", steps=2),
    Case("1024, caption, streamed", "group", steps=2),
    Case("4096, caption", side=4, steps=1),
    Case("4096, caption, one network at a time", "model", side=4, steps=1),
    Case("1024, caption, fused", fused=True),
    Case("1024, caption, compiled", compiled=True),
]
"""In the order of what matters most; compiling takes long."""


def full_pipeline(device: torch.device) -> DreamClearPipeline:
    """The published sizes, the transformer in float16 with what it keeps in float32, drawn on the device."""
    with torch.device("meta"):
        transformer, pre_cleaner = DreamClearTransformer2DModel(), SwinIR()
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
    _narrow(transformer)
    for network in (transformer, pre_cleaner, vae):
        network.to_empty(device=device).eval()
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point() and device.type != "meta":
                nn.init.normal_(tensor, std=0.02)
    for module in pre_cleaner.modules():  # a table that is computed, not stored
        if hasattr(module, "relative_position_index"):
            module.relative_position_index.zero_()
    return DreamClearPipeline(transformer, vae, published_scheduler(), pre_cleaner)


def _narrow(transformer: DreamClearTransformer2DModel) -> None:
    """What loading in 16 bits does."""
    kept = transformer._keep_in_fp32_modules
    for name, parameter in transformer.named_parameters():
        if not any(part in name for part in kept):
            parameter.data = parameter.data.to(torch.float16)


def operations(pipe: DreamClearPipeline, side: int, guided: bool) -> float:
    """Floating-point operations of a step on one tile of `side` pixels."""
    config = pipe.transformer.config
    width, tokens = config.num_attention_heads * config.attention_head_dim, (side // 16) ** 2
    rows = 2 if guided else 1
    block = 14 * width**2 + 2 * width * (tokens + config.caption_length)
    between = 5 * width**2 + 2 * width * tokens * rows
    modulators = 1.5 * (1 + config.num_experts) * width**2
    per_token = config.num_layers * block + config.control_layers * (2 * block + between + modulators)
    return 2.0 * per_token * tokens * rows


def plan_of(pipe: DreamClearPipeline, case: Case) -> Plan:
    """The plan of a way to place networks, streaming with the least that there can be."""
    asked = demand(MemoryConfig.of(pipe, guided=case.guided), pipe.description.phases)
    return Plan.of(asked, case.offload)


def measure(
    pipe: DreamClearPipeline, case: Case, plan: Plan, device: torch.device, native: int, limited: bool
) -> dict[str, Any]:
    """Set-up, seconds of a call and of a step, and peaks; if `limited`, inside what the plan promises."""
    cuda = device.type == "cuda"
    found = {"set_up_s": round(stopwatch(lambda: plan.apply(pipe, device), cuda), 2)}
    if cuda:
        torch.cuda.empty_cache()
        whole = torch.cuda.get_device_properties(device).total_memory
        share = min(plan.device / whole, 1.0) if limited else 1.0
        torch.cuda.set_per_process_memory_fraction(share, device)
        torch.cuda.reset_peak_memory_stats(device)
    if case.fused:
        pipe.transformer.fuse_qkv_projections()
    if case.compiled:
        pipe.transformer.compile_repeated_blocks()
    config, moments = pipe.transformer.config, []

    def on_step(*_: Any) -> dict[str, Any]:
        if cuda:
            torch.cuda.synchronize()
        moments.append(time.perf_counter())
        return {}

    call: dict[str, Any] = {"num_inference_steps": case.steps, "callback_on_step_end": on_step}
    if case.guided:
        call["prompt_embeds"] = torch.randn(1, config.caption_length, config.caption_channels)
    image = np.random.default_rng(0).random((native * case.side // 4,) * 2 + (3,), dtype=np.float32)
    for turn in ("first_s",) if case.side > 1 else ("first_s", "then_s"):
        moments.clear()
        generator = torch.Generator().manual_seed(0)
        found[turn] = round(stopwatch(lambda g=generator: pipe(image, generator=g, **call), cuda), 2)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    if gaps:
        step = median(gaps)
        found |= {
            "step_s": round(step, 4),
            "fifty_steps_s": round(found["then_s"] + (PUBLISHED_STEPS - case.steps) * step, 1),
            "tflops": round(operations(pipe, native, case.guided) / step / 1e12, 1),
        }
        card = torch.cuda.get_device_name(device) if cuda else ""
        peak = next((peak for name, peak in PEAKS.items() if name in card), None)
        if peak:
            found["share_of_peak"] = round(operations(pipe, native, case.guided) / step / peak, 3)
    if cuda:
        found["allocated_gb"] = round(torch.cuda.max_memory_allocated(device) / GB, 2)
        found["reserved_gb"] = round(torch.cuda.max_memory_reserved(device) / GB, 2)
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
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    known = {"card": card, "torch": torch.__version__, "weights": "random", "tiny": arguments.tiny}
    results: list[dict[str, Any]] = []
    for case in _wanted(arguments.only):
        if time.perf_counter() - began > arguments.seconds:
            break
        result = {"run": case.name, **known, "steps": case.steps}
        for limited in (True, False):  # what does not fit its plan is measured nevertheless
            try:
                result |= _tried(case, device, arguments.tiny, limited)
                break
            except (RuntimeError, ValueError, ImportError) as error:  # out of memory, or what is not there
                result["failed"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        results.append(result)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(result), flush=True)
    return results


def _tried(case: Case, device: torch.device, tiny: bool, limited: bool) -> dict[str, Any]:
    """A run with networks of its own, which are gone after it."""
    cuda = device.type == "cuda"
    pipe = tiny_pipeline(text=False) if tiny else full_pipeline(device)
    pipe.set_progress_bar_config(disable=True)
    plan = plan_of(pipe, case)
    found = {"planned_gb": round(plan.device / GB, 2), "host_gb": round(plan.host / GB, 2)}
    try:
        return found | measure(pipe, case, plan, device, 64 if tiny else 1024, limited)
    finally:
        if pipe.offload is not None:
            pipe.offload.leave()
        del pipe
        gc.collect()
        if cuda:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
            torch.cuda.empty_cache()


def _wanted(only: list[str] | None) -> Iterator[Case]:
    return (case for case in CASES if not only or case.name.startswith(tuple(only)))


def table(results: list[dict[str, Any]]) -> str:
    """The card's table: what is planned, always computed; what was measured, and where."""
    measured = {result["run"]: result for result in results if not result["tiny"]}
    pipe = full_pipeline(torch.device("meta"))
    lines = [
        "| restored at | placement | device memory (planned) | main memory (planned) | measured |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        plan = plan_of(pipe, case)
        host = f"{plan.host / GB:.1f} GB" if plan.host else "-"
        said = _said(measured.get(case.name))
        lines.append(
            f"| {case.name} | {PLACEMENTS[case.offload]} | {plan.device / GB:.1f} GB | {host} | {said} |"
        )
    return "\n".join(lines)


def _said(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not measured"
    if "failed" in result:
        return f"failed on {result['card']}: {result['failed']}"
    said = []
    if "fifty_steps_s" in result:
        said.append(f"{result['fifty_steps_s']} s for 50 steps (extrapolated), {result['step_s']} s each")
    if "share_of_peak" in result:
        said.append(f"{result['share_of_peak']:.0%} of the card's peak")
    if "reserved_gb" in result:
        said.append(f"{result['reserved_gb']} GB reserved")
    return f"{', '.join(said)} on {result['card']}, torch {result['torch']}"


def fill(card: Path, results: list[dict[str, Any]]) -> None:
    """Put the table between its marks in the card."""
    before, _, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    card.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the program itself")
    parser.add_argument("--seconds", type=float, default=70)
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
