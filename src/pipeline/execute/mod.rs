//! Carrying a plan out: stages in the order of the plan, several at once, each once.

mod assemble;
pub(in crate::pipeline) mod lock;
mod provenance;

use std::sync::{Condvar, Mutex, MutexGuard};

use self::assemble::{Made, assemble};
use self::lock::{Held, Lock};
use self::provenance::Origin;
use crate::config;
use crate::error::{Error, Result};
use crate::files;
use crate::pipeline::Options;
use crate::pipeline::directory::{State, Status};
use crate::pipeline::plan::{Action, Plan, PlannedRun, keys};
use crate::pipeline::stage::store::{Found, write_json};
use crate::pipeline::stage::work::Work;
use crate::progress::Progress;
use crate::stop::Stop;

/// A stage that failed, or a run that could not begin.
pub(in crate::pipeline) struct Failure {
    /// The runs that cannot be finished for it.
    pub(in crate::pipeline) runs: Vec<usize>,
    /// What went wrong.
    pub(in crate::pipeline) error: Error,
}

/// Does what the plan says and returns what failed, in the order in which it did.
///
/// Without `keep_going` the first failure asks everything else to stop; what was at work keeps a
/// checkpoint.
pub(in crate::pipeline) fn execute(
    plan: &Plan<'_>,
    options: &Options,
    progress: &Progress,
    stop: &Stop,
) -> Vec<Failure> {
    let team = Team {
        plan,
        options,
        progress,
        stop,
        origin: Origin::here(plan.experiment),
        board: Mutex::new(Board::new(plan)),
        changed: Condvar::new(),
    };
    team.announce();
    let jobs = options.jobs.clamp(1, plan.stages.len().max(1));
    if jobs == 1 {
        team.work();
    } else {
        let threads = (rayon::current_num_threads() / jobs).max(1);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    match pool {
                        Ok(pool) => pool.install(|| team.work()),
                        // The system has no threads to give: the shared ones do.
                        Err(_) => team.work(),
                    }
                });
            }
        });
    }
    team.close();
    team.board
        .into_inner()
        .expect("a panic would have ended the scope")
        .failures
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StageState {
    Waiting,
    AtWork,
    Settled,
    Failed,
}

enum RunState {
    /// Nothing of it has begun.
    Queued,
    /// A worker is beginning, finishing or ending it.
    Busy,
    /// It is at work, and its folder is ours.
    Open { _lock: Lock },
    /// Done, failed, interrupted, or somebody else's.
    Ended,
}

/// What everybody has to know.
struct Board {
    stages: Vec<StageState>,
    runs: Vec<RunState>,
    failures: Vec<Failure>,
}

impl Board {
    fn new(plan: &Plan<'_>) -> Self {
        let run = |run: &PlannedRun| {
            if run.is_done {
                RunState::Ended
            } else {
                RunState::Queued
            }
        };
        Self {
            stages: vec![StageState::Waiting; plan.stages.len()],
            runs: plan.runs.iter().map(run).collect(),
            failures: vec![],
        }
    }

    fn is_open(&self, run: usize) -> bool {
        !matches!(self.runs[run], RunState::Ended)
    }
}

struct Team<'a> {
    plan: &'a Plan<'a>,
    options: &'a Options,
    progress: &'a Progress,
    stop: &'a Stop,
    origin: Origin,
    board: Mutex<Board>,
    changed: Condvar,
}

impl Team<'_> {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board
            .lock()
            .expect("nobody panics while holding the board")
    }

    /// Says what is done already, and puts the rest in the queue for others to see.
    fn announce(&self) {
        for (number, run) in self.plan.runs.iter().enumerate() {
            if run.is_done {
                let name = self.plan.name(number);
                self.progress.say(&format!(
                    "{name}: done before (`--again` runs it once more)"
                ));
            } else if self.plan.runs.len() > 1 {
                // A folder that cannot be written is told when its run begins.
                if let Ok(Ok(lock)) = lock::take(run.directory.path()) {
                    let _ = self
                        .describe(run)
                        .and_then(|()| self.note(run, State::Queued, None));
                    drop(lock);
                }
            }
        }
    }

    /// One worker: stages until there is nothing left to do.
    fn work(&self) {
        self.finish_runs();
        while let Some(stage) = self.next() {
            let carrier = self.carrier(stage);
            let result = match carrier {
                Some(run) => self.do_stage(stage, run),
                None => Ok(()),
            };
            self.settle(stage, carrier, result);
            self.finish_runs();
        }
    }

    /// The next stage that can be done, once there is one; `None` at the end.
    fn next(&self) -> Option<usize> {
        let mut board = self.board();
        loop {
            if self.stop.wanted().is_some() {
                return None;
            }
            let ready = |&stage: &usize| {
                let input = self.plan.stages[stage].needs;
                board.stages[stage] == StageState::Waiting
                    && input.is_none_or(|input| board.stages[input] == StageState::Settled)
                    && self.plan.users(stage).any(|run| board.is_open(run))
            };
            let next = (0..board.stages.len()).find(ready);
            if let Some(stage) = next {
                board.stages[stage] = StageState::AtWork;
                return Some(stage);
            }
            let at_work = board.stages.contains(&StageState::AtWork);
            if !at_work {
                return None;
            }
            board = self
                .changed
                .wait(board)
                .expect("nobody panics while holding the board");
        }
    }

    /// The run in whose name a stage is done: the first that needs it and can begin.
    fn carrier(&self, stage: usize) -> Option<usize> {
        self.plan.users(stage).find(|&run| self.open(run))
    }

    /// Begins a run if it has not begun; whether it is open now.
    fn open(&self, run: usize) -> bool {
        let mut board = self.board();
        loop {
            match board.runs[run] {
                RunState::Open { .. } => return true,
                RunState::Ended => return false,
                RunState::Queued => break,
                RunState::Busy => {
                    board = self
                        .changed
                        .wait(board)
                        .expect("nobody panics while holding the board");
                }
            }
        }
        board.runs[run] = RunState::Busy;
        drop(board);
        let begun = self.begin(run);
        let mut board = self.board();
        let (state, open) = match begun {
            Ok(lock) => (RunState::Open { _lock: lock }, true),
            Err(error) => {
                self.report(&mut board, vec![run], error);
                (RunState::Ended, false)
            }
        };
        board.runs[run] = state;
        self.changed.notify_all();
        open
    }

    /// Takes the run's folder and writes what is known before the first step.
    fn begin(&self, number: usize) -> Result<Lock> {
        let run = &self.plan.runs[number];
        let folder = run.directory.path();
        let lock = match lock::take(folder)? {
            Ok(lock) => lock,
            Err(Held(holder)) => {
                return Err(
                    Error::run(format!("{} is being run by {holder}", folder.display())).help(
                        "wait until it has ended, or give this run another folder with --results",
                    ),
                );
            }
        };
        files::remove_unfinished(folder);
        self.progress.say(&self.plan.name(number));
        self.describe(run)?;
        let settings = &self.plan.experiment.points[run.point].settings;
        let stages: Vec<_> = run
            .stages
            .iter()
            .map(|&i| &self.plan.stages[i].stage)
            .collect();
        let provenance = self
            .origin
            .of(self.plan.experiment, (settings, run.seed), &stages);
        write_json(&run.directory.provenance_json(), &provenance)?;
        self.note(run, State::Running, None)?;
        Ok(lock)
    }

    fn describe(&self, run: &PlannedRun) -> Result<()> {
        let settings = &self.plan.experiment.points[run.point].settings;
        let text = config::to_toml(settings, run.seed);
        files::write(&run.directory.resolved_toml(), text.as_bytes())
    }

    /// Writes `status.json`.
    fn note(&self, run: &PlannedRun, state: State, reason: Option<String>) -> Result<()> {
        let now = Some(jiff::Timestamp::now().to_string());
        let started = match state {
            State::Queued => None,
            State::Running => now.clone(),
            _ => run
                .directory
                .status()
                .ok()
                .and_then(|status| status.started),
        };
        let ended = now.filter(|_| !matches!(state, State::Queued | State::Running));
        let stages = keys(run.stages.iter().map(|&stage| &self.plan.stages[stage]));
        run.directory.set_status(&Status {
            state,
            reason,
            stages,
            started,
            ended,
        })
    }

    /// Does a stage, unless it is found to be done; goes on from a checkpoint if there is one.
    fn do_stage(&self, number: usize, carrier: usize) -> Result<()> {
        let planned = &self.plan.stages[number];
        let (kind, folder) = (planned.stage.kind.name(), &planned.folder);
        let run = self.plan.name(carrier);
        let waiting = |holder: &str| {
            self.progress.say(&format!(
                "{run}: waiting for {holder}, which does the same {kind}"
            ));
        };
        let _lock = lock::wait(folder.path(), self.stop, waiting)?;
        files::remove_unfinished(folder.path());
        // Another process may have done it since the plan was made.
        let found = folder.find(&planned.stage.key, &mut |line| self.progress.say(&line));
        let asked_again = self.options.again && planned.action != Action::Reuse;
        let from = match found {
            _ if asked_again => None,
            Found::Done => {
                self.progress.detail(&format!("{run}: {kind} is reused"));
                return folder.settle();
            }
            Found::Started(checkpoint) => {
                let step = checkpoint.progress.position.step;
                self.progress
                    .say(&format!("{run}: {kind} goes on after step {step}"));
                Some(*checkpoint)
            }
            Found::Nothing(_) => None,
        };
        if let Action::Run { reason } = &planned.action {
            self.progress
                .detail(&format!("{run}: {kind} runs: {reason}"));
        }
        let work = Work {
            stage: &planned.stage,
            settings: planned.settings,
            seed: planned.seed,
            corpus: &planned.corpus,
            folder,
            input: planned.needs.map(|input| &self.plan.stages[input].folder),
            run: &self.plan.runs[carrier].directory,
            progress: self.progress,
            stop: self.stop,
        };
        work.run(from)
    }

    /// Notes how a stage ended; if not well, its runs end as well.
    fn settle(&self, stage: usize, carrier: Option<usize>, result: Result<()>) {
        let mut board = self.board();
        let Err(error) = result else {
            // Without a run that could begin, nothing was done and nobody waits for it.
            let settled = if carrier.is_some() {
                StageState::Settled
            } else {
                StageState::Failed
            };
            board.stages[stage] = settled;
            self.changed.notify_all();
            return;
        };
        board.stages[stage] = StageState::Failed;
        let users: Vec<usize> = self
            .plan
            .users(stage)
            .filter(|&run| board.is_open(run))
            .collect();
        // A run that another worker holds will not get this stage either.
        let ended: Vec<(usize, RunState)> = users
            .iter()
            .map(|&run| {
                (
                    run,
                    std::mem::replace(&mut board.runs[run], RunState::Ended),
                )
            })
            .collect();
        drop(board);
        let state = if error.is_interruption() {
            State::Interrupted
        } else {
            State::Failed
        };
        for (run, before) in &ended {
            // What was made so far is worth a look; that the run ended is said in any case.
            if matches!(before, RunState::Open { .. }) {
                let run = &self.plan.runs[*run];
                let _ = assemble(&run.directory, &self.made(run));
                let _ = self.note(run, state, Some(error.message()));
            } else if state == State::Failed {
                let _ = self.note(&self.plan.runs[*run], state, Some(error.message()));
            }
        }
        let mut board = self.board();
        self.report(&mut board, users, error);
        self.changed.notify_all();
    }

    /// Puts together every run whose stages are all settled.
    fn finish_runs(&self) {
        loop {
            let mut board = self.board();
            let complete = |&run: &usize| {
                let settled = |&stage: &usize| board.stages[stage] == StageState::Settled;
                matches!(board.runs[run], RunState::Queued | RunState::Open { .. })
                    && self.plan.runs[run].stages.iter().all(settled)
            };
            let Some(run) = (0..board.runs.len()).find(complete) else {
                return;
            };
            if matches!(board.runs[run], RunState::Queued) {
                drop(board);
                self.open(run);
                continue;
            }
            let lock = std::mem::replace(&mut board.runs[run], RunState::Ended);
            drop(board);
            let planned = &self.plan.runs[run];
            let finished = assemble(&planned.directory, &self.made(planned))
                .and_then(|()| self.note(planned, State::Done, None));
            if let Err(error) = finished {
                let _ = self.note(planned, State::Failed, Some(error.message()));
                self.report(&mut self.board(), vec![run], error);
            }
            drop(lock);
        }
    }

    /// Ends the runs that were stopped between two stages.
    fn close(&self) {
        let mut board = self.board();
        let why = self
            .stop
            .wanted()
            .map(|why| why.error("between two stages").message());
        for (number, run) in board.runs.iter_mut().enumerate() {
            if matches!(run, RunState::Open { .. }) {
                let planned = &self.plan.runs[number];
                let _ = assemble(&planned.directory, &self.made(planned));
                let _ = self.note(planned, State::Interrupted, why.clone());
                *run = RunState::Ended;
            }
        }
    }

    fn made(&self, run: &PlannedRun) -> Vec<Made<'_>> {
        let planned = run.stages.iter().map(|&stage| &self.plan.stages[stage]);
        planned.map(|one| (&one.stage, &one.folder)).collect()
    }

    /// Keeps a failure, says it now if there is more to come, and stops the rest unless told not to.
    fn report(&self, board: &mut Board, runs: Vec<usize>, error: Error) {
        if !error.is_interruption() {
            if self.options.keep_going {
                for &run in &runs {
                    self.progress.say(&format!(
                        "{}: failed: {}",
                        self.plan.name(run),
                        error.message()
                    ));
                }
            } else {
                self.stop.after_failure();
            }
        }
        board.failures.push(Failure { runs, error });
    }
}
