"""Names that are nearly right are named."""

import pytest

from ggt_hub.degradations import load_preset
from ggt_hub.errors import GGTHubError, did_you_mean
from ggt_hub.evaluation import load_suite
from ggt_hub.metrics import get_metric
from ggt_hub.tasks import check_task


@pytest.mark.parametrize(
    ("look_up", "word", "meant"),
    [
        (check_task, "niose", "noise"),
        (load_preset, "mixtur", "mixture"),
        (load_suite, "realir-benhc", "realir-bench"),
        (get_metric, "sism", "ssim"),
    ],
)
def test_a_slip_is_told_what_it_resembles(look_up, word, meant):
    with pytest.raises(GGTHubError, match=rf"\(did you mean '{meant}'\?\)"):
        look_up(word)


def test_what_resembles_nothing_gets_no_hint():
    assert did_you_mean("qqqq", ["noise", "blur"]) == ""
