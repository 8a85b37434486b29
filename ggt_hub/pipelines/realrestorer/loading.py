"""Loading RealRestorer from a folder of either layout."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLModel

from ggt_hub.converters.checkpoint import Checkpoint, read_json
from ggt_hub.converters.realrestorer import load_published
from ggt_hub.errors import RestorerError

Dtypes = torch.dtype | dict[str, torch.dtype] | None
_WEIGHTS = ("connector", "transformer", "vae", "text_encoder")


def published(
    folder: Path,
    dtype: Dtypes,
    vae_dtype: torch.dtype,
    given: Mapping[str, Any],
    known: Collection[str],
) -> dict[str, Any]:
    """Components of the published bundle, those that are given taken instead of loaded.

    Raises:
        RestorerError: if the bundle is broken, or `given` holds what is not among the `known` components: the
            options of diffusers' own loader.
    """
    unknown = [name for name in given if name not in known]
    if isinstance(dtype, dict):
        unknown.append("a dtype for each network")
    if unknown or isinstance(dtype, dict):
        raise RestorerError(
            f"{', '.join(unknown)}: not for the published bundle, only for our own layout; write that once with "
            "`ggt-hub convert realrestorer SRC DST` and load DST"
        )
    return {**load_published(folder, dtype, vae_dtype, without=given), **given}


def own_dtypes(
    folder: Path, dtype: Dtypes, vae_dtype: torch.dtype, given: Mapping[str, Any]
) -> dict[str, torch.dtype]:
    """Dtypes for diffusers' loader, after a look at the files that it would only stumble over.

    Raises:
        RestorerError: if weights are missing, damaged or pickles.
    """
    index = read_json(folder / "model_index.json")
    present = (name for name in _WEIGHTS if name not in given and index.get(name, [None])[0])
    stored = {name: Checkpoint(folder / name) for name in present}
    if isinstance(dtype, dict):
        return {"vae": vae_dtype, **dtype}
    default = dtype or (stored["connector"].dtype if "connector" in stored else torch.float32)
    return {"default": default, "vae": vae_dtype}


def check_text_encoder(encoder: Qwen2_5_VLModel | None, folder: Path) -> None:
    """Refuse an encoder some of whose tensors were not in its files: transformers leaves them random.

    Raises:
        RestorerError: naming one that is missing.
    """
    if encoder is None or getattr(encoder, "hf_quantizer", None) is not None:  # quantised, it has other names
        return
    missing = sorted(set(encoder.state_dict()) - set(Checkpoint(folder).shapes))
    if missing:
        raise RestorerError(
            f"{folder} lacks {len(missing)} tensors, among them {missing[0]}: write the layout again"
        )
