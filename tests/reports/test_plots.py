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


def test_a_limit_lies_where_its_number_is_even_beyond_all_values():
    svg = histogram([0.0, 1.0, 2.0], "gain", bins=2, limits={"least": 1.0, "most": 4.0})
    bars, lines = positions(svg, "rect"), positions(svg, "line")
    least, most = (float(line.get("x1")) for line in lines if line.get("stroke-width") == "2")
    start, width = float(bars[0].get("x")) - 1, float(bars[0].get("width")) + 2
    assert least == pytest.approx(start + width / 2, abs=0.2)  # bars are 2 wide, of 0 to 4
    assert most == pytest.approx(start + 2 * width, abs=0.2)
    assert re.findall(r">((?:least|most)[^<]*)</text>", svg) == ["least 1", "most 4"]


def test_the_words_of_limits_lie_one_below_the_other_above_all_bars():
    svg = histogram([0.0, 1.0, 2.0], "gain", bins=2, limits={"first": 1.0, "second": 1.05, "third": 1.1})
    words = {text.text.split()[0]: float(text.get("y")) for text in positions(svg, "text")}
    assert (words["second"] - words["first"], words["third"] - words["second"]) == (16, 16)
    assert words["third"] < min(float(bar.get("y")) for bar in positions(svg, "rect"))
    lowest = max(float(text.get("y")) for text in positions(svg, "text"))
    assert lowest < float(ElementTree.fromstring(svg).get("viewBox").split()[3])
