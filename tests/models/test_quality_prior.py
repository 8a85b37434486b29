import pytest
import torch
from torch import nn

from ggt_hub.errors import RestorerError
from ggt_hub.models import CompactRestorer, QualityPrior, ToldParts
from ggt_hub.models.low_rank import changed_weights
from ggt_hub.models.quality_prior import base_id, width_of
from tests.pipelines.tiny import tiny_realrestorer


@pytest.fixture
def network() -> CompactRestorer:
    torch.manual_seed(0)
    return CompactRestorer(channels=(8, 8, 8), blocks=(1, 1, 1), condition_width=8)


@pytest.mark.parametrize(
    ("quality", "row"),
    [(0.0, 0), (0.05, 0), (0.1, 1), (0.299, 2), (0.3, 3), (0.7, 7), (0.9, 9), (0.999, 9), (1.0, 9)],
)
def test_a_quality_takes_the_row_of_its_bin_and_1_the_last(quality: float, row: int) -> None:
    prior = QualityPrior("CompactRestorer", 4)
    nn.init.normal_(prior.table.weight)
    assert torch.equal(prior(torch.tensor([quality]))[0], prior.table.weight[row])


def test_a_new_prior_is_zero_and_belongs_to_its_network(network: CompactRestorer) -> None:
    prior = QualityPrior.of(network, rank=2)
    assert (prior.config.host, prior.config.width) == ("CompactRestorer", 8)
    assert prior.config.base == base_id(network.conditioner)
    assert not prior(torch.tensor([0.1, 0.9])).any()
    changes = prior.changes()
    assert not any(change.any() for change in changes.values())
    assert "head.weight" in changes and "bottleneck.0.second.weight" in changes
    assert not any(name.startswith(("conditioner", "estimator", "exposure")) for name in changes)
    assert QualityPrior.of(network).changes() == {}


def test_the_id_of_weights_is_that_of_every_precision_and_no_other(network: CompactRestorer) -> None:
    module = network.conditioner
    known = base_id(module)
    assert {base_id(network.to(dtype).conditioner) for dtype in (torch.bfloat16, torch.float16)} == {known}
    with torch.no_grad():
        module.mix[1].weight[0, 0] *= -1
    assert base_id(module) != known
    assert base_id(module.to("meta")) is None
    assert width_of(module) == 8


def test_a_network_without_a_place_for_it_and_a_rank_for_another_are_refused() -> None:
    with pytest.raises(
        RestorerError, match="no place for a quality prior in a Linear: there is one in CompactR"
    ):
        QualityPrior.of(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(RestorerError, match="a rank of 2 is for a CompactRestorer, not for a Flux"):
        QualityPrior.of(tiny_realrestorer().transformer, rank=2)


def test_changes_add_up_in_the_weights_precision(network: CompactRestorer) -> None:
    one, other = ({"head.weight": torch.full_like(network.head.weight, value)} for value in (0.25, 0.5))
    (name, weight), *none = changed_weights(network, one, {}, other).items()
    assert name == "head.weight" and none == []
    assert torch.equal(weight, network.head.weight + 0.25 + 0.5)
    assert changed_weights(network.bfloat16(), one)["head.weight"].dtype == torch.bfloat16


def test_told_parts_have_the_keys_that_were_published() -> None:
    parts = ToldParts({"rain": 2, "haze": 0}, channels=(8, 8, 8), blocks=(1, 1, 1), width=4)
    keys = set(parts.state_dict())
    assert {
        "parts.rain.down.head",
        "parts.rain.up.decode_fine-0-first",
        "parts.haze.veil.first.weight",
    } <= keys
    assert not any(key.startswith(("parts.haze.down", "parts.haze.up")) for key in keys)
