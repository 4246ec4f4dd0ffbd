//! `attnlab bench`: how fast the program is on this machine.

use super::{megabytes, print, print_json, thousands};
use crate::bench::report::{Benchmark, Part};
use crate::error::Result;
use crate::progress::{Progress, Verbosity};
use crate::{bench, cli, config};

pub fn bench(args: &cli::Bench) -> Result<()> {
    let data = args.data.directory.as_deref();
    let file = args.file.clone();
    let file = file.unwrap_or_else(|| bench::default_experiment(data));
    let experiment = config::load(&file, &args.placement.added_to(&args.set))?;
    let progress = Progress::new(Verbosity::Normal);
    let threads = args.threads.unwrap_or(0);
    let report = bench::measure(&experiment, args.steps, threads, data, &progress)?;
    if args.json {
        return print_json(&report);
    }
    lines(&report).iter().try_for_each(print)
}

fn lines(report: &Benchmark) -> Vec<String> {
    let step = &report.step;
    let whole = step.step_ms;
    let gpu = (report.gpu.as_ref()).map_or_else(String::new, |gpu| format!("on {gpu}, "));
    let s = if report.threads == 1 { "" } else { "s" };
    let (parameters, threads) = (thousands(report.parameters), report.threads);
    let rounded = match (&report.gpu, report.precision) {
        // `gpu` includes it.
        (Some(_), _) | (None, "f32") => String::new(),
        (None, precision) => format!(", {precision}"),
    };
    let mut lines = vec![
        format!(
            "{}, {}: {parameters} parameters, {gpu}{threads} thread{s}{rounded}, {} build",
            report.experiment, report.point, report.profile
        ),
        String::new(),
        format!(
            "step       {} ms   median of {} (middle 80 %: {} to {} ms)",
            milliseconds(whole.median),
            step.steps,
            milliseconds(whole.p10).trim_start(),
            milliseconds(whole.p90).trim_start()
        ),
        format!(
            "batch      {:>9} tokens in {:.0} documents, {:.1} GFLOP",
            thousands(step.tokens.round() as usize),
            step.documents,
            step.gflop
        ),
        format!(
            "speed      {:>9} tokens/s, {:.1} GFLOP/s: {:.1} % of the {:.1} GFLOP/s of large matrix products",
            thousands(step.tokens_per_second.round() as usize),
            step.gflop_per_second,
            100.0 * step.share_of_peak,
            step.peak_gflop_per_second
        ),
    ];
    if let Some(bytes) = report.peak_bytes {
        let whose = report.gpu.as_ref().map_or("", |_| " of the host");
        lines.push(format!("memory     {:>9}{whose} at most", megabytes(bytes)));
    }
    if let Some(decode) = &report.decode {
        lines.push(format!(
            "answers    {:>9.1} names/s: {} questions in {:.2} s, {:.1} characters an answer (fresh weights)",
            decode.names_per_second,
            thousands(decode.questions),
            decode.seconds,
            decode.answer_characters
        ));
    }
    lines.push(String::new());
    let names = report.parts.iter().map(|part| part.part.len());
    let width = names.max().unwrap_or(0).max(LEFT_OVER.len() + 1);
    lines.push(format!(
        "{:<width$}  times   forward  backward     total       share",
        "part"
    ));
    let rows = report.parts.iter();
    lines.extend(rows.map(|part| row(part, width, whole.median)));
    lines.push(format!(
        "{LEFT_OVER:<width$}                             {} ms  {}",
        milliseconds(report.left_over_ms),
        percent(report.left_over_ms / whole.median)
    ));
    lines
}

/// The label of the time that no part accounts for.
const LEFT_OVER: &str = "left over";

fn row(part: &Part, width: usize, whole_ms: f64) -> String {
    let pass = |ms: Option<f64>| ms.map_or_else(|| " ".repeat(9), milliseconds);
    format!(
        "{:<width$}  {:>5} {} {} {} ms  {}",
        part.part,
        part.times_a_step,
        pass(part.forward_ms),
        pass(part.backward_ms),
        milliseconds(part.total_ms),
        percent(part.total_ms / whole_ms)
    )
}

/// At least three digits, nine columns wide.
fn milliseconds(ms: f64) -> String {
    match ms.abs() {
        size if size < 1.0 => format!("{ms:>9.3}"),
        size if size < 100.0 => format!("{ms:>9.1}"),
        _ => format!("{ms:>9.0}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:>5.1} %", 100.0 * share)
}
