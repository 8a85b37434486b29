import re
import xml.etree.ElementTree as ElementTree

import pytest

from ggt_hub.reports import histogram, interval_plot


def positions(svg, name):
    return [element for element in ElementTree.fromstring(svg).iter() if element.tag == name]


def test_the_bars_of_a_histogram_are_as_high_as_their_counts():
    bars = positions(histogram([0.0] * 6 + [1.0] * 3, "gain <b>", bins=2), "rect")
    first, second = (float(bar.get("height")) for bar in bars)
    assert first == pytest.approx(2 * second, abs=0.1)
    assert "gain &lt;b&gt;" in histogram([1.0], "gain <b>")


def test_an_interval_lies_where_its_numbers_are():
    svg = interval_plot([("noise", 2.0, 1.0, 4.0), ("rain & haze", -1.0, -4.0, 0.5)], "gain")
    circles, lines = positions(svg, "circle"), positions(svg, "line")
    zero = float(lines[0].get("x1"))
    for circle, line, (mean, low, high) in zip(circles, lines[1:], [(2, 1, 4), (-1, -4, 0.5)], strict=True):
        unit = (float(circle.get("cx")) - zero) / mean
        assert float(line.get("x1")) == pytest.approx(zero + low * unit, abs=0.3)
        assert float(line.get("x2")) == pytest.approx(zero + high * unit, abs=0.3)
    assert re.findall(r">([^<]*)</text>", svg) == ["gain", "noise", "rain &amp; haze", "-4", "0", "4"]
