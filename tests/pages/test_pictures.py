"""Plots within a page: ids that never meet, nothing that runs, no fixed size."""

import io

import pytest

from phi_runner.pages import pictures
from phi_runner.pages.frame import Section, page
from phi_runner.plots.lines import Series, lines
from tests import html


def _matplotlib(title: str) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([1, 2, 3], [1, 4, 2])
    axes.set_title(title)
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


def test_two_plots_of_matplotlib_share_no_id() -> None:
    body = pictures.plots(*(pictures.svg(_matplotlib(name), caption=name, paper=True) for name in ("a", "b")))
    read = html.read(page("Plots", sections=[Section(id="plots", title="Plots", body=body)]))
    assert len(read.ids) > 20
    assert "rdf" not in body
    assert "style>" not in body


def test_what_would_run_or_load_is_left_out() -> None:
    bad = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" height="5pt">'
        '<script>x</script><g onclick="x()"><image xlink:href="https://example.org/x.png"/></g><style>@import</style>'
        '<rect id="r" fill="url(#r)" width="1" height="1"/><use xlink:href="#r"/></svg>'
    )
    made = pictures.svg(bad, caption="<bad>")
    assert not any(word in made for word in ("script", "onclick", "example.org", "@import"))
    assert 'viewBox="0 0 10 5"' in made
    mark = made.partition(' id="')[2].partition('"')[0]
    assert f'fill="url(#{mark})"' in made
    assert f'href="#{mark}"' in made
    assert "&lt;bad&gt;" in made


@pytest.mark.parametrize("text", ["", "<svg", "<html></html>"])
def test_what_is_no_svg_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="no SVG"):
        pictures.svg(text, caption="x")


def test_a_png_lies_within_the_page() -> None:
    assert 'src="data:image/png;base64,iVBORw==' in pictures.png(b"\x89PNG", caption="x")


@pytest.mark.parametrize(
    "points",
    [[], [(1, 2.0)], [(1, 5.0), (2, 5.0)], [(1, float("nan")), (2, float("inf"))], [(0, -3e-7), (9, 1e12)]],
)
def test_a_chart_of_any_points_is_drawn(points: list[tuple[float, float]]) -> None:
    drawn = lines([Series(label="a & b", points=points), Series(label="c", points=[])], x_label="<x>", y_label="y")
    made = pictures.svg(drawn, caption="chart")
    assert "a &amp; b" in made
    assert "nan" not in made


def test_a_long_line_keeps_its_peaks() -> None:
    points = [(float(x), 100.0 if x == 7777 else 0.0) for x in range(10_000)]
    drawn = lines([Series(label="a", points=points)], x_label="x", y_label="y")
    assert len(drawn) < 20_000
    assert f",{30:.1f}" in drawn, "the peak lies at the top of the frame"
