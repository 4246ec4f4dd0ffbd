//! The result files of one experiment, and what is missing from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::figure::Figure;
use super::{Contents, figure};
use crate::config::{Experiment, Point};
use crate::error::Result;
use crate::metrics::artefacts::{METRICS, TIMINGS};
use crate::metrics::rows::{ChoiceRow, FindingRow, GroupRow, MeasureRow, StepRow, TimingRow};
use crate::metrics::steps::TrainingStage;
use crate::metrics::{steps, table};
use crate::pipeline::directory::{RunDirectory, State, experiment_folder};
use crate::pipeline::provenance::Provenance;
use crate::pipeline::runs::{self, RunRow};
use crate::pipeline::summary::choice::{self, CHOICE_CSV};
use crate::pipeline::summary::{self, findings};

/// The state of a run without a folder.
const NOT_BEGUN: &str = "not begun";

/// The results of one experiment, read from its files.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// The experiment's name, such as `birthplace/vanilla`.
    pub(super) name: String,
    /// The experiment's file.
    pub(super) file: PathBuf,
    /// The options that a command needs to refer to it.
    argument: String,
    /// Every point with every seed, in order.
    pub(super) runs: Vec<Run>,
    /// The rows of `summary.csv`; none if it does not match the finished runs.
    pub(super) measures: Vec<MeasureRow>,
    /// The rows of `groups.csv`, likewise.
    pub(super) groups: Vec<GroupRow>,
    /// The candidates of each choice by validation, likewise.
    pub(super) choice: Vec<ChoiceRow>,
    /// The rows of `findings.csv`, likewise.
    pub(super) findings: Vec<FindingRow>,
    /// The figures that match the finished runs.
    pub(super) figures: Vec<Figure>,
    /// The other figures, and why they are left out.
    pub(super) left_out: Vec<(String, String)>,
    /// Other notes for the reader.
    pub(super) notices: Vec<String>,
}

/// A point with a seed.
#[derive(Debug)]
pub(super) struct Run {
    /// Label of the point.
    pub(super) label: String,
    /// Folder name of the point.
    pub(super) point: String,
    pub(super) seed: u64,
    /// Its state, also `not begun`, with the reason for it, its start and its end.
    pub(super) row: RunRow,
    /// Provenance; several entries if the run was resumed.
    pub(super) origin: Vec<Provenance>,
    /// All settings as TOML, if the run was started.
    pub(super) settings: Option<String>,
    /// Training rows, if the run is done.
    pub(super) steps: Vec<StepRow>,
    pub(super) timings: Vec<TimingRow>,
    /// The most stages that ran at the same time.
    pub(super) stages_at_once: usize,
}

impl Run {
    /// Whether it has results, possibly of an earlier run.
    pub(super) fn is_done(&self) -> bool {
        is_done(&self.row)
    }

    /// `pretrained, seed 1: failed: why`.
    fn how_it_is(&self) -> String {
        let reason = self.row.reason.as_deref();
        let reason = reason.and_then(|reason| reason.lines().next());
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        let (label, seed, state) = (&self.label, self.seed, self.row.state);
        format!("{label}, seed {seed}: {state}{reason}")
    }

    fn read(
        directory: &RunDirectory,
        row: Option<RunRow>,
        point: &Point,
        seed: u64,
    ) -> Result<Self> {
        let row = row.unwrap_or(RunRow {
            state: NOT_BEGUN,
            ..RunRow::default()
        });
        let is_done = is_done(&row);
        let (metrics, timings) = (directory.file(&METRICS), directory.file(&TIMINGS));
        let origin = Provenance::read(&directory.provenance_json()).into_iter();
        Ok(Self {
            label: point.label.clone(),
            point: point.folder(),
            seed,
            row,
            origin: origin.map(Provenance::for_reports).collect(),
            settings: std::fs::read_to_string(directory.resolved_toml()).ok(),
            steps: rows_if(is_done, &metrics, steps::read_steps)?,
            timings: rows_if(is_done, &timings, steps::read_timings)?,
            stages_at_once: stages_at_once(directory),
        })
    }
}

fn is_done(row: &RunRow) -> bool {
    row.state == State::Done.name() || row.holds_earlier_results
}

/// The rows of a table, if it is `wanted` and exists.
fn rows_if<R>(
    wanted: bool,
    path: &Path,
    read: impl FnOnce(&Path) -> Result<Vec<R>>,
) -> Result<Vec<R>> {
    match wanted && path.is_file() {
        true => read(path),
        false => Ok(vec![]),
    }
}

/// The most stages that ran at the same time during the run's training.
fn stages_at_once(run: &RunDirectory) -> usize {
    let stages = TrainingStage::ALL.into_iter();
    let computed = stages.flat_map(|stage| run.computed(stage.name()));
    computed.map(|one| one.stages_at_once).max().unwrap_or(1)
}

impl Results {
    /// Reads the files of an experiment in the results folder.
    pub(super) fn read(experiment: &Experiment, results: &Path) -> Result<Self> {
        let folder = experiment_folder(experiment, results);
        let found = runs::list(&folder).into_iter();
        let mut found: BTreeMap<PathBuf, RunRow> =
            found.map(|row| (row.folder.clone(), row)).collect();
        let mut runs = vec![];
        for point in &experiment.points {
            for &seed in &experiment.seeds {
                let directory = RunDirectory::new(experiment, point, seed, results);
                let row = found.remove(directory.path());
                runs.push(Run::read(&directory, row, point, seed)?);
            }
        }
        let mut read = Self {
            name: experiment.name.clone(),
            file: experiment.path.clone(),
            argument: experiment.argument(),
            runs,
            ..Self::default()
        };
        let is_fresh = read.any_done() && read.read_tables(experiment, results)?;
        read.read_figures(experiment, &folder, is_fresh)?;
        Ok(read)
    }

    /// Whether there are any numbers to report.
    pub(super) fn any_done(&self) -> bool {
        self.runs.iter().any(Run::is_done)
    }

    /// Reads the tables of measurements, unless they do not match the finished runs.
    fn read_tables(&mut self, experiment: &Experiment, results: &Path) -> Result<bool> {
        let measured = summary::measured(experiment, results);
        let folder = &measured.folder;
        let now = summary::rows(experiment, &measured)?;
        let measures: Vec<MeasureRow> = rows_if(true, &folder.join("summary.csv"), table::read)?;
        let groups: Vec<GroupRow> = rows_if(true, &folder.join("groups.csv"), table::read)?;
        let (explores, path) = (experiment.explores(), folder.join("findings.csv"));
        let findings: Vec<FindingRow> = rows_if(explores, &path, table::read)?;
        let found = findings::rows(&measured)?;
        // Compared as text, since NaN is not equal to itself.
        let is_found = format!("{findings:?}") == format!("{found:?}");
        let (is_choice, path) = (experiment.choice.is_some(), folder.join(CHOICE_CSV));
        let choice: Vec<ChoiceRow> = rows_if(is_choice, &path, table::read)?;
        let is_chosen =
            choice == choice::rows(experiment, &measured, results)? && is_choice == path.is_file();
        if measures != now || !are_of(&groups, &measures) || !is_found || !is_chosen {
            let file = &self.argument;
            self.notices.push(format!(
                "The tables and figures of measured numbers do not match the finished runs and are left out: \
                 attnlab plot {file}, with the same --set and --results, redraws them."
            ));
            return Ok(false);
        }
        (self.measures, self.groups) = (measures, groups);
        (self.choice, self.findings) = (choice, findings);
        Ok(true)
    }

    fn read_figures(
        &mut self,
        experiment: &Experiment,
        folder: &Path,
        is_fresh: bool,
    ) -> Result<()> {
        for name in experiment.figures.keys() {
            let why = match () {
                () if !self.any_done() => "no run has finished".to_owned(),
                () if !is_fresh => "it does not match the finished runs".to_owned(),
                () => match figure::read(&folder.join("figures"), name)? {
                    Some(figure) => {
                        self.figures.push(figure);
                        continue;
                    }
                    None => "there was nothing to draw, or it has not been drawn yet".to_owned(),
                },
            };
            self.left_out.push((name.clone(), why));
        }
        Ok(())
    }

    /// A summary of the section.
    pub(super) fn contents(&self) -> Contents {
        Contents {
            experiment: self.name.clone(),
            done: self.runs.iter().filter(|run| run.is_done()).count(),
            runs: self.runs.len(),
            figures: self.figures.iter().map(|one| one.name.clone()).collect(),
            left_out: self.left_out.clone(),
            notices: self.notices(),
        }
    }

    /// What is missing, one sentence each.
    pub(super) fn notices(&self) -> Vec<String> {
        // If all figures are left out for one reason, that has been reported already.
        let is_told = !self.any_done() || !self.notices.is_empty();
        let left_out = self.left_out.iter().filter(|_| !is_told);
        let left_out = left_out.map(|(name, why)| format!("Figure {name} is left out: {why}."));
        let mut notices = self.unfinished();
        notices.extend(self.notices.iter().cloned().chain(left_out));
        notices
    }

    /// The unfinished runs, and the command that finishes them.
    fn unfinished(&self) -> Vec<String> {
        let redone = self.runs.iter().filter(|run| run.row.holds_earlier_results);
        let redone = redone.map(|run| {
            let line = run.how_it_is();
            format!("{line}. Its numbers are from the earlier run, which finished.")
        });
        let missing: Vec<&Run> = self.runs.iter().filter(|run| !run.is_done()).collect();
        if missing.is_empty() {
            return redone.collect();
        }
        let file = &self.argument;
        let (number, all) = (missing.len(), self.runs.len());
        let who = match (number, all) {
            (1, 1) => "The run is not done: its".to_owned(),
            (1, _) => format!("1 of {all} runs is not done: its"),
            _ => format!("{number} of {all} runs are not done: their"),
        };
        let first = format!(
            "{who} numbers are in no table and no figure. attnlab run {file}, with the same --set \
             and --results, does what is missing."
        );
        // If no run was started, say so only once.
        let told = missing.iter().filter(|run| run.row.state != NOT_BEGUN);
        let lines = told.map(|run| run.how_it_is());
        [first].into_iter().chain(lines).chain(redone).collect()
    }
}

/// Whether groups match these measures: every row belongs to one, with the same number of seeds.
fn are_of(groups: &[GroupRow], measures: &[MeasureRow]) -> bool {
    let is_whole = |group: &GroupRow| {
        let own = measures.iter().filter(|row| row.group() == group.group());
        own.filter(|row| row.seed.is_some()).count() == group.seeds.unwrap_or_default()
    };
    let has_group = |row: &MeasureRow| groups.iter().any(|group| row.group() == group.group());
    groups.iter().all(is_whole) && measures.iter().all(has_group)
}
