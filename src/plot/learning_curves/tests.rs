use super::*;
use crate::plot::tests::drawn;
use crate::plot::tests::gallery::{Label, chance};

/// A figure of made-up values.
pub fn made_up(points: usize, label: Label<'_>, seeds: u64) -> Figure {
    let loss = |i: usize, seed: u64, step: usize| {
        let end = 0.5 + 1.5 * chance(i, 5);
        end + (4.1 - end) * (-(step as f64) / 40.0).exp()
            + 0.15 * chance(i * 1_000 + step, seed as usize)
    };
    let trace = |i: usize, seed: u64| Trace {
        seed,
        points: (1..=200)
            .map(|step| (step as f64, loss(i, seed, step)))
            .collect(),
        // The first point alone is validated.
        validations: (1..=10)
            .filter(|_| i == 0)
            .map(|epoch| (20.0 * epoch as f64, 0.2 + loss(i, seed, 20 * epoch)))
            .collect(),
    };
    let series = |i: usize| Series {
        label: label(i),
        traces: (1..=seeds).map(|seed| trace(i, seed)).collect(),
    };
    let figure = LearningCurves {
        stage: "pretrain".to_owned(),
        series: (0..points).map(series).collect(),
    };
    drawn(&figure, "A figure of curves")
}

fn falling(seed: u64, points: usize) -> Trace {
    let loss = |i: usize| {
        1.5 + 4.0 / (1.0 + i as f64 / 30.0) + ((i as u64 * 37 + seed * 11) % 17) as f64 / 40.0
    };
    Trace {
        seed,
        points: (1..=points).map(|i| (i as f64, loss(i))).collect(),
        validations: vec![],
    }
}

fn figure(traces: Vec<Trace>) -> LearningCurves {
    LearningCurves {
        stage: "pretrain".to_owned(),
        series: vec![Series {
            label: "vanilla".to_owned(),
            traces,
        }],
    }
}

/// The caption of the figure as it is drawn.
fn caption(spec: &LearningCurves) -> String {
    let (curves, left_out) = spec.curves();
    let styles = SeriesStyles::of(spec, &curves);
    let frame = Frame::around(&curves);
    let origin = "Profile small".to_owned();
    let caption = Caption::new(String::new(), origin);
    let told = (&frame, &styles, &spec.names());
    spec.explained(caption, (&curves, left_out), told).finish()
}

fn rows(figure: &Figure) -> Vec<(String, String, String, f64, f64)> {
    let text = String::from_utf8(figure.csv.clone()).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some("stage,series,seed,kind,window,step,loss_nats,low_95,high_95")
    );
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: usize| cells[i].parse::<f64>().unwrap();
        (
            cells[2].to_owned(),
            cells[3].to_owned(),
            cells[4].to_owned(),
            number(5),
            number(6),
        )
    };
    lines.map(row).collect()
}

#[test]
fn the_same_input_gives_the_same_bytes_without_any_font() {
    let spec = figure(vec![falling(1, 2_500), falling(2, 2_500)]);
    let drawn = spec.draw(Caption::default()).unwrap();
    assert_eq!(drawn, spec.draw(Caption::default()).unwrap());
    assert!(!drawn.svg.contains("<text") && !drawn.svg.contains("font-family"));
}

#[test]
fn the_table_reads_back_as_the_plotted_numbers() {
    let trace = falling(7, 50);
    let rows = rows(
        &figure(vec![trace.clone()])
            .draw(Caption::default())
            .unwrap(),
    );
    let read: Vec<(f64, f64)> = rows.iter().map(|r| (r.3, r.4)).collect();
    assert_eq!(read, trace.points);
    assert!(
        rows.iter()
            .all(|r| r.0 == "7" && r.1 == "loss" && r.2.is_empty())
    );
}

#[test]
fn several_seeds_get_their_mean() {
    let traces = vec![falling(1, 40), falling(2, 30)];
    let rows = rows(&figure(traces.clone()).draw(Caption::default()).unwrap());
    let mean: Vec<_> = rows.iter().filter(|r| r.1 == "mean-over-seeds").collect();
    assert_eq!(mean.len(), 30);
    assert_eq!(
        mean[4].4,
        (traces[0].points[4].1 + traces[1].points[4].1) / 2.0
    );
    assert!(mean.iter().all(|r| r.0.is_empty()), "a mean has no seed");
}

#[test]
fn a_mean_has_its_interval_and_a_crowd_leaves_bands_to_the_table() {
    let traces = || (1..=3).map(|seed| falling(seed, 40)).collect::<Vec<_>>();
    let mut spec = figure(traces());
    let few = spec.draw(Caption::default()).unwrap();
    let text = String::from_utf8(few.csv.clone()).unwrap();
    let mean = text
        .lines()
        .filter(|line| line.contains(",mean-over-seeds,"));
    let ends = |line: &str| -> Vec<f64> {
        let cells: Vec<&str> = line.split(',').collect();
        cells[6..]
            .iter()
            .map(|cell| cell.parse().unwrap())
            .collect()
    };
    let ends: Vec<Vec<f64>> = mean.map(ends).collect();
    assert_eq!(ends.len(), 40);
    assert!(ends.iter().all(|e| e[1] < e[0] && e[0] < e[2]), "{text}");

    assert!(caption(&spec).contains("band: 95 % t-interval of the mean"));

    // A band is the only thing so pale.
    let bands = |spec: &LearningCurves| {
        let drawn = spec.draw(Caption::default()).unwrap();
        drawn.svg.matches("opacity=\"0.16\"").count()
    };
    let series = |i: usize| Series {
        label: format!("kind {i}"),
        traces: traces(),
    };
    spec.series = (0..drawing::CROWD).map(series).collect();
    assert_eq!(bands(&spec), drawing::CROWD);
    spec.series.push(series(drawing::CROWD));
    assert_eq!(bands(&spec), 0);
    assert!(caption(&spec).contains("the CSV has its 95 % t-interval"));
    let crowd = String::from_utf8(spec.draw(Caption::default()).unwrap().csv).unwrap();
    assert!(crowd.lines().skip(1).any(|line| !line.ends_with(",,")));
}

#[test]
fn a_long_run_says_its_window_and_what_it_leaves_outside() {
    let spec = figure(vec![falling(1, 15_000)]);
    let (curves, _) = spec.curves();
    let beyond = Frame::around(&curves).beyond;
    let caption = caption(&spec);
    assert!(
        caption.contains("running mean over 101 points"),
        "{caption}"
    );
    assert!(beyond > 0 && beyond < 300, "{beyond}");
    assert!(
        caption.contains(&format!("{beyond} points lie above the axis")),
        "{caption}"
    );
    assert_eq!(
        rows(&spec.draw(Caption::default()).unwrap()).len(),
        15_000 + 14_900
    );
}

#[test]
fn validations_are_dots_and_rows_of_their_own() {
    let mut trace = falling(1, 60);
    assert!(!caption(&figure(vec![trace.clone()])).contains("validation loss"));
    trace.validations = vec![(30.0, 3.5), (60.0, 3.25)];
    let figure = figure(vec![trace]);
    assert!(caption(&figure).contains("Dots: validation loss (dev split)."));
    let rows = rows(&drawn(&figure, "Loss"));
    let of = |wanted: &str| rows.iter().filter(|row| row.1 == wanted).count();
    assert_eq!((of("loss"), of("validation")), (60, 2));
    let last = rows.iter().rfind(|row| row.1 == "validation");
    assert_eq!(last.map(|row| (row.3, row.4)), Some((60.0, 3.25)));
}

#[test]
fn degenerate_figures_are_drawn() {
    let trace = |points: &[(f64, f64)]| Trace {
        validations: vec![],
        seed: 0,
        points: points.to_vec(),
    };
    for traces in [
        vec![],
        vec![trace(&[])],
        vec![trace(&[(1.0, 2.0)])],
        vec![trace(&[(1.0, 2.0), (1.0, 2.0)])],
        vec![trace(&[(1.0, f64::NAN), (2.0, f64::INFINITY)])],
        vec![
            trace(&[(1.0, -3.0), (2.0, 9e14), (f64::NAN, 1.0)]),
            trace(&[(5.0, 1.0)]),
        ],
        vec![trace(&[(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)])],
    ] {
        let mut spec = figure(traces);
        let drawn = spec.draw(Caption::default()).unwrap();
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("inf"));
        spec.series[0].label = "very long 漢 ".repeat(99);
        spec.stage = String::new();
        spec.draw(Caption::default()).unwrap();
    }
    LearningCurves::default().draw(Caption::default()).unwrap();
}

#[test]
fn losses_that_are_not_finite_are_counted_in_the_caption() {
    let mut trace = falling(1, 9);
    trace.points[3].1 = f64::NAN;
    let spec = figure(vec![trace]);
    assert_eq!(
        caption(&spec),
        "Profile small. Seed 1. 1 point without a finite loss left out."
    );
}

#[test]
fn curves_are_told_apart_by_colour_and_dashes_and_of_a_crowd_both_ends_are_picked_out() {
    let series = |i: usize| Series {
        label: format!("rate = {i}"),
        traces: vec![Trace {
            validations: vec![],
            seed: 1,
            points: (1..=40)
                .map(|step| (step as f64, 4.0 / step as f64 + i as f64))
                .collect(),
        }],
    };
    let styles = |number: usize| {
        let spec = LearningCurves {
            series: (0..number).rev().map(series).collect(),
            ..figure(vec![])
        };
        let names = spec.names();
        let styles = SeriesStyles::of(&spec, &spec.curves().0);
        let legend: Vec<String> = styles
            .legend(&names)
            .into_iter()
            .map(|entry| entry.1)
            .collect();
        (styles, legend, caption(&spec))
    };
    let (few, legend, _) = styles(14);
    for (i, one) in few.of_series.iter().enumerate() {
        assert!(
            few.of_series[i + 1..].iter().all(|other| other != one),
            "{few:?}"
        );
    }
    assert_eq!(legend.len(), 14);
    let (many, legend, caption) = styles(20);
    let own = many
        .of_series
        .iter()
        .filter(|style| **style != styles::CROWDED);
    assert_eq!(own.count(), 6);
    let expected = [
        "best: rate = 0",
        "2nd best: rate = 1",
        "3rd best: rate = 2",
        "3rd worst: rate = 17",
        "2nd worst: rate = 18",
        "worst: rate = 19",
        "the other 14",
    ];
    assert_eq!(legend, expected);
    assert!(
        caption.contains("Coloured: the 3 curves with the lowest"),
        "{caption}"
    );
}

#[test]
fn points_that_share_a_curve_share_a_legend_entry() {
    let series = |i: usize| Series {
        label: format!("rate = {i}"),
        traces: vec![falling(u64::from(i == 7), 40)],
    };
    let spec = LearningCurves {
        series: (0..20).map(series).collect(),
        ..figure(vec![])
    };
    let styles = SeriesStyles::of(&spec, &spec.curves().0);
    let legend = styles
        .legend(&spec.names())
        .into_iter()
        .map(|entry| entry.1);
    let expected = ["rate = 0 and 18 points with the same losses", "rate = 7"];
    assert_eq!(legend.collect::<Vec<_>>(), expected);
    assert!(!styles.is_crowd());
}

#[test]
fn the_caption_says_which_run_left_the_frame_and_how_high_it_went() {
    let mut spec = figure(vec![falling(1, 40)]);
    let mut wild = falling(1, 40);
    wild.points[20..]
        .iter_mut()
        .for_each(|point| point.1 *= 1e6);
    spec.series.push(Series {
        label: "rate = 5".to_owned(),
        traces: vec![wild],
    });
    let caption = caption(&spec);
    assert!(
        caption
            .contains("20 points lie above the axis, up to 4.10e6 (rate = 5); the CSV has them."),
        "{caption}"
    );
}
