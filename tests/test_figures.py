"""Figures show what the numbers say, at any width, in both themes, and text of strangers stays text."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert

from bench.analysis.across import performance_profile
from bench.analysis.evidence import describe
from bench.analysis.frontier import (
    by_budget,
    by_length,
    by_training_size,
    frontier,
    learning_curves,
    length_differences,
    time_to_target,
)
from bench.analysis.gradient_flow import BEST, CAROUSEL, FIRST, HIDDEN
from bench.analysis.overall import overall_pairs
from bench.analysis.pairing import Scene, Study
from bench.analysis.pairs import pairs_of
from bench.analysis.ranking import Ranking, rank
from bench.analysis.verdict import Verdict
from bench.config import ProtocolConfig
from bench.report import figures_across, figures_cost, figures_where, theme
from bench.report.figures import FILE_WIDTH, Figure, Spec, laid_out, save_svg_png, spec
from bench.report.figures_forest import forest, ratios
from bench.report.figures_gradients import gradient_flow
from bench.report.figures_ladder import solved_lengths
from bench.report.figures_panels import MAX_PANELS
from bench.report.figures_rows import MAX_ROWS
from bench.report.figures_seeds import MAX_DOTS, ladder, paired_seeds

MANY = MAX_DOTS // 4 + 1  # seeds, of two arms on two tasks
PROTOCOL = ProtocolConfig(looks=[5, 10], spending="power3", margins=[1.0], margin=1.0)
HOSTILE = "<script>alert('x')</script> {{datum.x}} \" ' | \\ очень длинное имя, которое всё не кончается"
ARMS = ("gru", "lstm")
PHONE, DESKTOP = 358, 900


def a_study(
    *, arms: tuple[str, ...] = ARMS, datasets: tuple[str, ...] = ("trec6", "mr"), seeds: int = 5, effect: float = 0.0,
    matchings: tuple[str, ...] = ("parameters",), spread: float = 0.2,
) -> Study:  # fmt: skip
    """A tidy table of runs. effect: points by which each arm is better than the one before; spread: of differences."""
    scenes = tuple(Scene(dataset=dataset, embedding="glove", pooling="mean", matching=matching)
                   for dataset in datasets for matching in matchings)  # fmt: skip
    draw = np.random.default_rng(3)
    rows = []
    for number, scene in enumerate(scenes):
        for place, arm in enumerate(arms):
            for seed in range(seeds):
                quality = (80 + 0.5 * (seed % 10) + place * effect + spread * draw.standard_normal()) / 100
                seconds = 10.0 * (1 + place) + 0.1 * seed
                rows.append({
                    "run_id": f"{number}-{arm}-{seed}", "seed": seed, "scene": number, "arm": arm,
                    "dataset": scene.dataset, "embedding": scene.embedding, "pooling": scene.pooling,
                    "matching": scene.matching, "quality": quality, "accuracy": quality, "macro_f1": quality,
                    "validation_accuracy": quality, "train_seconds": seconds, "parameters_total": 100_000 + place,
                    "parameters_recurrent": 80_000 + 20_000 * place, "hardware_key": "cpu", "train_texts": 5000,
                    "test_texts": 500, "test_correct": pd.NA, "target_accuracy": 0.7,
                    "test_by_length": json.dumps([[8, 200, round(200 * quality)], [16, 300, round(300 * quality)]]),
                    "validation_curve": json.dumps([[seconds / 2, 0.6], [seconds, quality]]),
                })  # fmt: skip
    return Study("model.cell", arms, scenes, pd.DataFrame(rows), dict.fromkeys(datasets, "accuracy"))


def judged(study: Study, protocol: ProtocolConfig = PROTOCOL) -> Verdict:
    """What the program says of the study."""
    pairs = pairs_of(study, protocol)
    evidence = tuple(describe(entry, protocol) for entry in pairs)
    overall = tuple(describe(entry, protocol) for entry in overall_pairs([entry for entry in pairs if entry.headline]))
    return Verdict(sentence="", verdict="undecided", study=study, protocol=protocol, protocol_hash="",
                   evidence=evidence, overall=overall)  # fmt: skip


def looks(tasks: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame([{"task": task, "seeds": seeds, "mean": 0.3, "low": 0.3 - 3 / seeds, "high": 0.3 + 3 / seeds,
                          "margin": 1.0} for task in tasks for seeds in (5, 10)])  # fmt: skip


def trials(study: Study) -> pd.DataFrame:
    dataset = study.scenes[0].dataset
    return pd.DataFrame([{"dataset": dataset, "arm": arm, "trial": trial, "validation_quality": 0.5 + 0.04 * trial}
                         for arm in study.arms for trial in range(6)])  # fmt: skip


def in_sizes(study: Study) -> pd.DataFrame:
    """The runs at two numbers of training texts."""
    small = study.runs.assign(train_texts=500, quality=study.runs.quality - 0.1, scene=study.runs.scene + 100)
    return pd.concat([study.runs, small], ignore_index=True)


def solved(study: Study) -> pd.DataFrame:
    """Seeds that solve each length: fewer, the longer it is, and more, the later an arm comes."""
    return pd.DataFrame([
        {"task": task, "arm": arm, "length": length, "seeds": 5, "solved": count, "share": count / 5, "median": 0.9}
        for task in dict.fromkeys(scene.task for scene in study.scenes)
        for place, arm in enumerate(study.arms)
        for step, length in enumerate((25, 50, 100, 200))
        for count in [max(0, 5 - 2 * max(0, step - place))]
    ])  # fmt: skip


def flows(study: Study) -> pd.DataFrame:
    """What is left of gradients: each arm decays more slowly than the one before it; the last one has a cell state."""
    return pd.DataFrame([
        {"task": task, "arm": arm, "moment": moment, "state": state, "runs": 3, "distance": float(distance),
         "low": middle / 2, "median": middle, "high": middle * 2}
        for task in dict.fromkeys(scene.task for scene in study.scenes)
        for place, arm in enumerate(study.arms)
        for moment in (FIRST, BEST)
        for state in ((HIDDEN, CAROUSEL) if arm == study.arms[-1] else (HIDDEN,))
        for distance in range(0, 128, 4)
        for middle in [(0.3 + 0.3 * place + 0.05 * (state == CAROUSEL)) ** distance]
    ])  # fmt: skip


BUILDERS: dict[str, Callable[[Study], Figure | None]] = {
    "forest": lambda study: forest(judged(study)),
    "ratios": lambda study: ratios(judged(study)),
    "seeds": lambda study: paired_seeds(judged(study)),
    "ladder": lambda study: ladder(looks(tuple(scene.task for scene in study.scenes)), (study.arms[0], study.arms[1])),
    "pareto-time": lambda study: figures_cost.pareto(frontier(study.runs, "train_seconds"), study, "train_seconds"),
    "pareto-parameters-recurrent": lambda study: figures_cost.pareto(
        frontier(study.runs, "parameters_recurrent"), study, "parameters_recurrent"),
    "learning-curves": lambda study: figures_cost.learning_curves(
        learning_curves(study.runs), time_to_target(study.runs), study),
    "by-length": lambda study: figures_where.by_length(by_length(study.runs), study),
    "length-differences": lambda study: figures_where.length_differences(
        length_differences(study.runs, study.arms[0], study.arms[1]), study, study.arms[0], study.arms[1]),
    "by-training-size": lambda study: figures_where.by_training_size(by_training_size(in_sizes(study)), study),
    "budget": lambda study: figures_cost.budget(by_budget(trials(study)), study),
    "performance-profile": lambda study: figures_across.performance_profile(
        performance_profile(study.runs, study.arms, 0, points=21), study),
    "critical-difference": lambda study: figures_across.critical_difference(rank(study.runs, study.arms)),
    "gradient-flow": lambda study: gradient_flow(flows(study), study.arms, 32),
    "solved-length": lambda study: solved_lengths(solved(study), study.arms, "length"),
}  # fmt: skip


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    """Every figure, of three arms and two tasks."""
    study = a_study(arms=("rnn", "gru", "lstm"), effect=0.4)
    return {name: present(build(study)) for name, build in BUILDERS.items()}


def present(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure


def svg(figure: Figure, width: int = DESKTOP, look: theme.Theme = "light") -> ET.Element:
    return ET.fromstring(
        vl_convert.vegalite_to_svg(laid_out(spec(figure), width), config=theme.config(look), allowed_base_urls=[])
    )


def texts(image: ET.Element) -> list[str]:
    return [text for node in image.iter("{http://www.w3.org/2000/svg}text") if (text := "".join(node.itertext()))]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_figure_says_what_it_shows(figures: dict[str, Figure], name: str) -> None:
    figure = figures[name]
    assert figure.name == name
    assert re.search(r"n = \d", figure.title), "every figure says its n"
    assert figure.caption.endswith(".")
    assert re.search(r"\d", figure.description), "the description says what came out, not only what is drawn"
    assert spec(figure)["description"] == figure.description


@pytest.mark.parametrize("name", BUILDERS)
def test_a_figure_fits_a_phone_and_a_desktop(figures: dict[str, Figure], name: str) -> None:
    for width in (PHONE, DESKTOP):
        assert 0.5 * width < float(svg(figures[name], width).attrib["width"]) <= width


@pytest.mark.parametrize("name", BUILDERS)
def test_all_data_are_inside_and_nothing_is_loaded(figures: dict[str, Figure], name: str) -> None:
    assert figures[name].chart.to_dict(validate=True), "it keeps to the schema of Vega-Lite"
    drawn = json.dumps(spec(figures[name]), allow_nan=False)
    assert '"url"' not in drawn
    assert '"config"' not in drawn, "the page brings the colours"
    assert "datasets" in json.loads(drawn)


@pytest.mark.parametrize("name", BUILDERS)
def test_files_are_the_same_whenever_they_are_written(figures: dict[str, Figure], name: str, tmp_path: Path) -> None:
    figure = figures[name]
    first, again = save_svg_png(figure, tmp_path / "one"), save_svg_png(figure, tmp_path / "two")
    assert [path.name for path in first] == [f"{name}.svg", f"{name}.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    image = ET.fromstring(first[0].read_text(encoding="utf-8"))
    assert image.attrib["aria-label"] == figure.description
    assert figure.title.split(":")[0][:40] in " ".join(texts(image)), "a file stands for itself, title included"
    assert FILE_WIDTH / 2 < float(image.attrib["width"]) < 1.2 * FILE_WIDTH
    header = first[1].read_bytes()
    assert header.startswith(b"\x89PNG")
    assert int.from_bytes(header[16:20]) == pytest.approx(2 * float(image.attrib["width"]), abs=2)


@pytest.mark.parametrize("name", BUILDERS)
def test_hostile_names_stay_text(name: str) -> None:
    study = a_study(arms=("gru", f"lstm {HOSTILE}", "rnn"), datasets=(HOSTILE, f"{HOSTILE} 2"))
    image = svg(present(BUILDERS[name](study)))
    assert not [node for node in image.iter() if "script" in node.tag]
    if name != "performance-profile":  # it shows arms alone
        assert any("<scr" in text or "lstm <" in text for text in texts(image))


@pytest.mark.parametrize("name", BUILDERS)
def test_an_arm_is_told_by_more_than_colour(figures: dict[str, Figure], name: str) -> None:
    drawn = spec(figures[name])
    channels = {channel for mark in marks(drawn) for channel in mark["encoding"]}
    if "color" in channels:
        assert channels & {"shape", "strokeDash"}


def test_an_arm_has_one_colour_in_every_figure() -> None:
    study = a_study(arms=("rnn", "gru", "lstm"))
    without = study.runs[study.runs.arm != "rnn"]
    figure = present(figures_cost.pareto(frontier(without, "train_seconds"), study, "train_seconds"))
    image = ET.tostring(svg(figure), encoding="unicode")
    first, second, third = json.loads(json.dumps(theme.config("light")))["range"]["category"][:3]
    assert first not in image
    assert second in image
    assert third in image
    assert "rnn" not in texts(svg(figure)), "the legend names what is shown"


def marks(drawn: Spec) -> list[dict[str, dict[str, object]]]:
    inner = drawn.get("spec", drawn)
    assert isinstance(inner, dict)
    layers = inner["layer"]
    assert isinstance(layers, list)
    return layers


def test_nothing_to_show_gives_no_figure() -> None:
    study = a_study()
    empty = Study("model.cell", (), (), study.runs.iloc[:0], {})
    assert forest(judged(empty)) is None
    assert ratios(judged(empty)) is None
    assert paired_seeds(judged(empty)) is None
    assert ladder(looks(())) is None
    runs = empty.runs
    assert figures_cost.pareto(frontier(runs, "train_seconds"), empty, "train_seconds") is None
    assert figures_cost.learning_curves(learning_curves(runs), time_to_target(runs), empty) is None
    assert figures_cost.budget(by_budget(trials(study).iloc[:0]), empty) is None
    assert figures_where.by_length(by_length(runs), empty) is None
    assert figures_where.length_differences(length_differences(runs, *ARMS), empty, *ARMS) is None
    assert figures_where.by_training_size(by_training_size(study.runs), study) is None, "one size is no curve"
    assert figures_across.performance_profile(performance_profile(runs, ARMS, 0), empty) is None
    assert figures_across.critical_difference(rank(study.runs, ARMS)) is None, "two arms need no ranking"


def test_the_forest_plot_shows_difference_margin_and_verdict_of_every_scene() -> None:
    found = judged(a_study(effect=3.0, matchings=("parameters", "width")))
    figure = present(forest(found))
    shown = texts(svg(figure))
    assert [entry.verdict for entry in found.headline] == ["lstm", "lstm"]
    assert shown.count("lstm") == len(found.evidence) + len(found.overall) == 5
    assert shown.index("Headline: equal parameters, pooling mean") < shown.index(
        "Descriptive: equal width, pooling mean"
    )
    assert "trec6 · glove (n = 5)" in shown
    assert any(text.startswith("lstm − gru, points of accuracy") for text in shown)
    assert "2 headline scenes, 2 other comparisons, n = 5 seeds" in figure.title
    first = next(row for row in figure.rows if str(row.get("name", "")).startswith("trec6"))
    interval = found.headline[0].difference
    assert interval is not None
    assert (first["estimate"], first["low"], first["high"]) == (interval.estimate, interval.low, interval.high)
    assert (first["minus"], first["plus"]) == (-1.0, 1.0)


def test_one_wide_interval_does_not_flatten_the_others() -> None:
    study = a_study(datasets=("a", "b", "c", "d"), spread=0.2)
    noise = np.where(study.runs.scene == 3, 40 * np.random.default_rng(0).standard_normal(len(study.runs)), 0)
    wide = Study(study.factor, study.arms, study.scenes, study.runs.assign(quality=study.runs.quality + noise / 100),
                 study.metrics)  # fmt: skip
    figure = present(forest(judged(wide)))
    cut = [row for row in figure.rows if "cut_left" in row or "cut_right" in row]
    assert "d · glove (n = 5)" in [row["name"] for row in cut], "an arrow head says that the interval goes on"
    assert all(str(row["name"])[0] in "ad" for row in cut)


def test_before_the_first_look_there_are_points_without_an_interval() -> None:
    figure = present(forest(judged(a_study(seeds=1))))
    rows = [row for row in figure.rows if "estimate" in row]
    assert len(rows) == 3
    assert not [row for row in rows if "low" in row]
    assert texts(svg(figure)).count("undecided") == 3


def test_ratios_stand_left_of_one_where_the_baseline_needs_less() -> None:
    figure = present(ratios(judged(a_study())))
    row = next(row for row in figure.rows if "name" in row)
    assert float(str(row["time_ratio"])) == pytest.approx(0.5, abs=0.01)
    assert float(str(row["parameters_ratio"])) == pytest.approx(0.8)
    assert any(re.fullmatch(r"time 0\.5[01], weights 0\.80", text) for text in texts(svg(figure)))


def test_every_seed_has_a_dot_until_there_are_too_many() -> None:
    few = present(paired_seeds(judged(a_study(seeds=10))))
    assert len([row for row in few.rows if "quality" in row]) == 2 * 2 * 10
    assert "n = 40 runs" in few.title
    protocol = ProtocolConfig(looks=[MANY], spending="power3", margins=[1.0])
    many = present(paired_seeds(judged(a_study(seeds=MANY), protocol)))
    assert len(many.rows) == 4
    assert "too many for 2,004 dots" in many.caption
    assert "n = 2,004 runs" in many.title


def test_the_pareto_line_joins_what_nothing_beats() -> None:
    worse = present(BUILDERS["pareto-time"](a_study(effect=-1.0, datasets=("mr",))))
    better = present(BUILDERS["pareto-time"](a_study(effect=1.0, datasets=("mr",))))
    assert {row["arm"]: row["dominated"] for row in worse.rows} == {"gru": False, "lstm": True}
    assert {row["arm"]: row["dominated"] for row in better.rows} == {"gru": False, "lstm": False}
    assert "~alt" not in json.dumps(spec(worse))
    assert "!datum.dominated" in json.dumps(spec(worse)).replace("(", "").replace(")", "")


def test_arms_of_equal_cost_stand_side_by_side() -> None:
    study = a_study(datasets=("mr",))
    equal = study.runs.assign(parameters_recurrent=80_000)
    figure = present(figures_cost.pareto(frontier(equal, "parameters_recurrent"), study, "parameters_recurrent"))
    assert {row["arm"]: row["aside"] for row in figure.rows} == {"gru": -3.5, "lstm": 3.5}


def test_learning_curves_mark_when_the_target_was_reached() -> None:
    figure = present(BUILDERS["learning-curves"](a_study(datasets=("mr",))))
    reached = {row["arm"]: row["seconds"] for row in figure.rows if "target" in row}
    assert reached == {"gru": pytest.approx(10.2), "lstm": pytest.approx(20.2)}
    assert "gru after 10.2 s (by 100% of the runs)" in figure.description


def test_lengths_with_few_texts_are_left_out_and_the_rest_say_their_number() -> None:
    study = a_study(datasets=("mr",))
    study.runs["test_by_length"] = json.dumps([[8, 200, 150], [16, 300, 250], [512, 3, 1]])
    figure = present(figures_where.by_length(by_length(study.runs), study))
    shown = " ".join(texts(svg(figure)))
    assert "≤ 8" in shown
    assert "300" in shown
    assert "512" not in shown
    assert "fewer than 20" in figure.caption


def test_the_critical_difference_diagram_joins_what_is_not_told_apart() -> None:
    ranking = Ranking(("gru", "lstm", "rnn"), (1.2, 1.8, 3.0), 0.001, 0.9, (("gru", "lstm"),), 12)
    figure = present(figures_across.critical_difference(ranking))
    shown = texts(svg(figure))
    assert "not told apart: gru, lstm" in shown
    assert "rank 3.00" in shown
    assert "n = 12 tasks; Friedman p = 0.001" in figure.title


def test_many_scenes_are_cut_and_the_caption_says_so() -> None:
    study = a_study(datasets=tuple(f"set {number}" for number in range(MAX_ROWS + 5)), seeds=2)
    rows, panels = present(forest(judged(study))), present(BUILDERS["by-length"](study))
    assert len([row for row in rows.rows if "name" in row]) == MAX_ROWS
    assert f"first {MAX_ROWS} of {MAX_ROWS + 6} rows" in rows.caption
    assert len({row["task"] for row in panels.rows}) == MAX_PANELS
    assert f"first {MAX_PANELS} of {MAX_ROWS + 5} tasks" in panels.caption
    assert float(svg(rows).attrib["height"]) > 40 * MAX_ROWS, "the height follows the rows"


def test_ten_thousand_runs_make_small_figures() -> None:
    study = a_study(datasets=tuple(f"set {number}" for number in range(50)), seeds=100)
    assert len(study.runs) == 10_000
    sizes = {name: len(json.dumps(spec(present(build(study))))) for name, build in BUILDERS.items()
             if name != "critical-difference"}  # fmt: skip
    assert sum(sizes.values()) < 1_000_000, sizes


@pytest.mark.parametrize("look", ["light", "dark"])
def test_text_and_marks_stand_out_from_the_page(look: theme.Theme) -> None:
    page = {"light": "#FFFFFF", "dark": "#16181C"}[look]
    settings = json.loads(json.dumps(theme.config(look)))
    words = [settings["axis"]["labelColor"], settings["legend"]["labelColor"], settings["title"]["subtitleColor"]]
    assert min(contrast(colour, page) for colour in words) >= 4.5
    assert min(contrast(colour, page) for colour in [*settings["range"]["category"][:4], "#808080"]) >= 3
    assert settings["background"] == "transparent"


def contrast(colour: str, page: str) -> float:
    """The contrast ratio of WCAG 2."""
    lighter, darker = sorted((luminance(colour), luminance(page)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else math.pow((c + 0.055) / 1.055, 2.4) for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
