//! How fast the program is on this machine: a pretraining step as a whole and by its parts, compared with
//! the device's peak, and decoding in answers per second.
//!
//! In reading order: [`measure`] and its [`report`], [`steps`] (the training loop itself, timed), [`work`]
//! (the useful arithmetic of a step), [`peak`] (the highest rate this machine reaches), and [`memory`].
//! Nothing is written to disk, and no test depends on a time.

// What a name says needs no comment.
#![allow(missing_docs)]

pub mod memory;
pub mod peak;
pub mod report;
pub mod steps;
pub mod work;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::config::Experiment;
use crate::config::schema::{Settings, default_answer_characters};
use crate::data::{Corpus, Split, cs224n};
use crate::error::{Error, Result};
use crate::eval;
use crate::metrics::statistics::quantile;
use crate::model::Start;
use crate::model::parts::PartTimes;
use crate::model::registry::{self, Compiled};
use crate::progress::Progress;
use report::{Benchmark, Decode, Part, Percentiles, Step};
use steps::{TimedStep, median_batch};

const ASSIGNMENT: &str = "experiments/birthplace/vanilla.toml";

const QUICKSTART: &str = "experiments/quickstart.toml";

/// Timed rounds over all questions, after one untimed round that pays for page faults.
const DECODINGS: usize = 3;

/// The experiment to measure if the user names none.
pub fn default_experiment(data: Option<&Path>) -> PathBuf {
    let folder = cs224n::locate(data);
    let is_there = folder.is_ok_and(|folder| folder.join(cs224n::TEXT.name).is_file());
    PathBuf::from(if is_there { ASSIGNMENT } else { QUICKSTART })
}

/// Times the first point of an experiment with its first seed: `steps` training steps and as many repetitions of each
/// part, on `threads` threads (0: rayon's default). Fetched data is read from the folder `data`.
///
/// # Errors
/// The experiment has no `[pretrain]`, or its shape is not compiled in; its data is missing; a step
/// diverges; the device or the system fails.
pub fn measure(
    experiment: &Experiment,
    steps: usize,
    threads: usize,
    data: Option<&Path>,
    progress: &Progress,
) -> Result<Benchmark> {
    let settings = &experiment.points[0].settings;
    let settings = settings.needed(&experiment.name, "training step to measure")?;
    registry::check(settings.placement())?;
    let corpus = &settings.open(data)?;
    let bench = Bench {
        experiment,
        settings,
        compiled: registry::find(&settings.model.shape())?,
        corpus,
        start: Start {
            seed: experiment.seeds[0],
            deviation: settings.model.initial_deviation as f32,
        },
        progress,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|cause| Error::run(format!("cannot start threads: {cause}")))?;
    pool.install(|| {
        let report = bench.report(steps);
        registry::release_device();
        report
    })
}

/// What is being measured, with its data and shape looked up.
struct Bench<'a> {
    experiment: &'a Experiment,
    settings: &'a Settings,
    compiled: &'static Compiled,
    corpus: &'a Corpus,
    start: Start,
    progress: &'a Progress,
}

impl Bench<'_> {
    fn report(&self, repetitions: usize) -> Result<Benchmark> {
        let steps = steps::time(
            self.settings,
            self.start,
            self.corpus,
            repetitions,
            self.progress,
        )?;
        // Read before decoding allocates memory of its own.
        let peak_bytes = memory::peak_bytes();
        let step = self.step(&steps)?;
        let batch = median_batch(&steps);
        let (model, placement) = (&self.settings.model, self.settings.placement());
        let times = (self.compiled).time_parts(model, placement, self.start, batch, repetitions)?;
        let parts: Vec<Part> = times.iter().map(part).collect();
        let in_parts: f64 = parts.iter().map(|part| part.total_ms).sum();
        Ok(Benchmark {
            experiment: self.experiment.name.clone(),
            point: self.experiment.points[0].folder(),
            parameters: self.compiled.parameter_count(model)?,
            gpu: registry::gpu_name(placement),
            precision: registry::precision(placement).name(),
            threads: rayon::current_num_threads(),
            profile: match cfg!(debug_assertions) {
                true => "debug",
                false => "release",
            },
            left_over_ms: step.step_ms.median - in_parts,
            step,
            parts,
            decode: self.decode()?,
            peak_bytes,
        })
    }

    fn step(&self, steps: &[TimedStep]) -> Result<Step> {
        let model = &self.settings.model;
        let parameters = self.compiled.parameter_count(model)?;
        let gflop = |step: &TimedStep| work::flop(model, parameters, &step.batch) / 1e9;
        let spread = |value: &dyn Fn(&TimedStep) -> f64| {
            Percentiles::of(&steps.iter().map(value).collect::<Vec<_>>())
        };
        let gflop_per_second = spread(&|step| gflop(step) / step.seconds).median;
        let peak_gflop_per_second = peak::flop_per_second(self.settings.placement())? / 1e9;
        Ok(Step {
            steps: steps.len(),
            documents: spread(&|step| step.batch.documents() as f64).median,
            tokens: spread(&|step| step.batch.len() as f64).median,
            step_ms: spread(&|step| 1e3 * step.seconds),
            tokens_per_second: spread(&|step| step.batch.len() as f64 / step.seconds).median,
            gflop: spread(&gflop).median,
            gflop_per_second,
            peak_gflop_per_second,
            share_of_peak: gflop_per_second / peak_gflop_per_second,
        })
    }

    /// Decodes answers to the dev questions with freshly initialised weights.
    fn decode(&self) -> Result<Option<Decode>> {
        let asked = self.corpus.questions(Split::Dev);
        if asked.is_empty() {
            return Ok(None);
        }
        let spec = self.settings.evaluate.as_ref();
        let model = &self.settings.model;
        let characters = spec.map_or_else(default_answer_characters, |e| e.answer_characters);
        let characters = characters.min(model.longest_document() - 1);
        let model = registry::instantiate(model, self.settings.placement(), self.start)?;
        let steps = asked.len() * (1 + DECODINGS);
        let mut task = self.progress.begin("answers", steps);
        let (mut rows, mut seconds) = (vec![], vec![]);
        for round in 0..=DECODINGS {
            let started = Instant::now();
            let vocabulary = &self.corpus.vocabulary;
            rows = eval::ask_model(model.as_ref(), vocabulary, asked, characters, &mut |done| {
                task.at(round * asked.len() + done, "");
                Ok(())
            })?;
            if round > 0 {
                seconds.push(started.elapsed().as_secs_f64());
            }
        }
        let seconds = Percentiles::of(&seconds).median;
        let answered: usize = rows.iter().map(|row| row.predicted.chars().count()).sum();
        Ok(Some(Decode {
            questions: rows.len(),
            answer_characters: answered as f64 / rows.len() as f64,
            seconds,
            names_per_second: rows.len() as f64 / seconds,
        }))
    }
}

/// Median times of a part, summed over the times that a step runs it.
fn part(times: &PartTimes) -> Part {
    let of_a_step = |seconds: &[f64]| 1e3 * times.times_a_step as f64 * quantile(seconds, 0.5);
    let pass = |seconds: &[f64]| (!seconds.is_empty()).then(|| of_a_step(seconds));
    Part {
        part: times.part.clone(),
        times_a_step: times.times_a_step,
        forward_ms: pass(&times.forward_s),
        backward_ms: pass(&times.backward_s),
        total_ms: of_a_step(&times.whole_s),
    }
}
