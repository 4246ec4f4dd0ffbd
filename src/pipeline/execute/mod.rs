//! Executes a plan: its stages in order, several in parallel, each once.
//!
//! Workers take stages from a `board`; a `recorder` locks the runs' folders and records their state. A failure
//! ends the runs that need the failed stage, and no others.

pub mod assemble;
mod board;
mod origin;
mod recorder;
mod repository;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use self::board::{Board, RunState, StageState};
use self::recorder::{OpenRun, RunRecorder};
use crate::error::{Error, Result};
use crate::files;
use crate::model::registry;
use crate::pipeline::Options;
use crate::pipeline::plan::{Action, Plan};
use crate::pipeline::stage::store::CacheState;
use crate::pipeline::stage::work::Work;
use crate::progress::Progress;
use crate::stop::Stop;

pub use self::board::Failure;

/// How a plan was carried out.
pub struct PlanOutcome {
    /// What failed, in the order in which it did.
    pub failures: Vec<Failure>,
    /// Whether every run has its results.
    pub is_complete: bool,
}

/// Executes the plan.
///
/// Without `keep_going` the first failure asks everything else to stop; running stages write a
/// checkpoint.
pub fn execute(
    plan: &Plan<'_>,
    options: &Options,
    progress: &Progress,
    stop: &Stop,
) -> PlanOutcome {
    // No more workers than stages to run; reused stages need none.
    let left = plan.stages.iter().filter(|one| one.action != Action::Reuse);
    let jobs = options.jobs.clamp(1, left.count().max(1));
    let team = Team {
        plan,
        options,
        progress,
        stop,
        recorder: RunRecorder::new(plan, progress, jobs),
        board: Mutex::new(Board::new(plan)),
        changed: Condvar::new(),
    };
    team.recorder.restore(stop);
    team.recorder.queue();
    team.work_together(jobs);
    while team.wait_for_others() {
        team.work_together(jobs);
    }
    team.close()
}

struct Team<'a> {
    plan: &'a Plan<'a>,
    options: &'a Options,
    progress: &'a Progress,
    stop: &'a Stop,
    recorder: RunRecorder<'a>,
    board: Mutex<Board>,
    changed: Condvar,
}

/// Why locking the board cannot fail.
const NO_PANIC: &str = "nobody panics while holding the board";

impl Team<'_> {
    /// Runs this many workers, each with its share of the threads, until nothing is left to do.
    fn work_together(&self, jobs: usize) {
        if jobs == 1 {
            return self.work();
        }
        let threads = (rayon::current_num_threads() / jobs).max(1);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    match pool {
                        Ok(pool) => pool.install(|| {
                            self.work();
                            registry::release_device();
                        }),
                        // The system cannot create more threads: the shared ones are used.
                        Err(_) => self.work(),
                    }
                });
            }
        });
    }

    /// Waits for the runs that other processes hold; returns whether one of them ended unfinished and is
    /// still to be run.
    fn wait_for_others(&self) -> bool {
        let mut is_left = false;
        while self.stop.wanted().is_none() {
            let is_elsewhere = |run: &RunState| matches!(run, RunState::Elsewhere);
            let Some(run) = self.board().runs.iter().position(is_elsewhere) else {
                return is_left;
            };
            let waited = self.recorder.wait_for(run, self.stop);
            let mut board = self.board();
            match waited {
                Ok(true) => board.runs[run] = RunState::Done,
                Ok(false) => {
                    is_left = true;
                    board.requeue(self.plan, run);
                }
                Err(error) => self.end(&mut board, run, error),
            }
        }
        false
    }

    /// One worker: stages until there is nothing left to do.
    fn work(&self) {
        self.finish_runs();
        while let Some(stage) = self.next() {
            match self.carrier(stage) {
                None => self.mark(stage, self.without_carrier(stage)),
                Some((run, opened)) => {
                    let result = self.try_stage(stage, run, &opened);
                    // The worker that finishes the run must hold the only reference.
                    drop(opened);
                    match result {
                        Ok(()) => self.mark(stage, StageState::Settled),
                        Err(error) => self.fail(stage, error),
                    }
                }
            }
            self.finish_runs();
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect(NO_PANIC)
    }

    fn wait<'b>(&self, board: MutexGuard<'b, Board>) -> MutexGuard<'b, Board> {
        self.changed.wait(board).expect(NO_PANIC)
    }

    fn mark(&self, stage: usize, state: StageState) {
        self.board().stages[stage] = state;
        self.changed.notify_all();
    }

    /// The next stage, once there is one that can be done; `None` at the end.
    fn next(&self) -> Option<usize> {
        let mut board = self.board();
        while self.stop.wanted().is_none() {
            let stage = board.take_stage(self.plan);
            if stage.is_some() || !board.stages.contains(&StageState::AtWork) {
                return stage;
            }
            board = self.wait(board);
        }
        None
    }

    /// The state of a stage none of whose runs could start: no run of this process waits for it, but another
    /// process may be running it.
    fn without_carrier(&self, stage: usize) -> StageState {
        let board = self.board();
        let is_elsewhere = |run: usize| matches!(board.runs[run], RunState::Elsewhere);
        match self.plan.users(stage).any(is_elsewhere) {
            true => StageState::Waiting,
            false => StageState::Failed,
        }
    }

    /// The run for which a stage is run: the first that needs it and can start.
    fn carrier(&self, stage: usize) -> Option<(usize, Arc<OpenRun>)> {
        let open = |run: usize| match &self.begin(run).runs[run] {
            RunState::Open(opened) => Some((run, opened.clone())),
            _ => None,
        };
        self.plan.users(stage).find_map(open)
    }

    /// Starts a run if it is still queued, and returns the board afterwards.
    fn begin(&self, run: usize) -> MutexGuard<'_, Board> {
        let mut board = self.board();
        while matches!(board.runs[run], RunState::Busy) {
            board = self.wait(board);
        }
        if !matches!(board.runs[run], RunState::Queued) {
            return board;
        }
        board.runs[run] = RunState::Busy;
        drop(board);
        let begun = self.recorder.open(run, self.stop);
        let mut board = self.board();
        // Not wanted if another worker has meanwhile found that the run cannot be finished.
        let is_wanted = matches!(board.runs[run], RunState::Busy);
        match begun {
            Ok(Ok(opened)) if is_wanted => board.runs[run] = RunState::Open(Arc::new(opened)),
            Ok(Ok(opened)) => {
                drop(board);
                let error = Error::run("a stage that it needs has failed");
                self.recorder.end(run, &error, None, Some(&opened));
                drop(opened);
                board = self.board();
            }
            Ok(Err(_)) if self.options.keep_going && is_wanted => {
                board.runs[run] = RunState::Elsewhere;
            }
            Ok(Err(_)) if self.options.keep_going => {}
            Ok(Err(held)) => {
                let error = self.recorder.is_run_by(run, &held.holder);
                self.end(&mut board, run, error);
            }
            Err(error) => self.end(&mut board, run, error),
        }
        self.changed.notify_all();
        board
    }

    /// Runs a stage. A panic counts as a failure, so that no worker waits forever for its result.
    fn try_stage(&self, stage: usize, run: usize, opened: &OpenRun) -> Result<()> {
        let work = AssertUnwindSafe(|| self.do_stage(stage, run, opened));
        catch_unwind(work).unwrap_or_else(|_| {
            let kind = self.plan.stages[stage].stage.kind.name();
            let message = format!("{kind} panicked: a bug in attnlab, not in the experiment");
            Err(Error::run(message).help("please report it with the lines above"))
        })
    }

    /// Runs a stage unless it is already done; resumes from a checkpoint if there is one.
    fn do_stage(&self, number: usize, run: usize, opened: &OpenRun) -> Result<()> {
        let planned = &self.plan.stages[number];
        let (kind, folder) = (planned.stage.kind.name(), &planned.folder);
        let name = self.plan.name(run);
        let doing = format!("does the same {kind}");
        let lock = (self.recorder).wait(folder.path(), self.stop, &name, &doing)?;
        files::remove_unfinished(folder.path(), |_| true);
        // Another process may have run it since the plan was made; with `--again` it is rerun anyway.
        let from = match folder.find(&mut |line| self.progress.say(&line)) {
            _ if self.options.again => None,
            CacheState::Done => {
                self.progress.detail(&format!("{name}: {kind} is reused"));
                self.recorder.found_done(number);
                return folder.settle();
            }
            CacheState::Started(checkpoint) => {
                let step = checkpoint.metadata.position.step;
                let line = format!("{name}: {kind} resumes after step {step}");
                self.progress.say(&line);
                Some(*checkpoint)
            }
            CacheState::Damaged(_) | CacheState::Nothing(_) => None,
        };
        if let (Action::Run(reason), None) = (&planned.action, &from) {
            let line = format!("{name}: {kind} runs ({reason})");
            self.progress.detail(&line);
        }
        self.recorder.begin_stage(number, from.is_none())?;
        let work = Work {
            start: &planned.stage.start,
            seed: planned.seed,
            folder,
            input: planned.needs.map(|input| &self.plan.stages[input].folder),
            run: &self.plan.runs[run].directory,
            shown: &opened.shown,
            stop: &self.stop.in_folder(lock.taken_over()),
        };
        work.run(&planned.job, from)
    }

    /// Notes that a stage has failed; all runs that need it end.
    fn fail(&self, stage: usize, error: Error) {
        let mut board = self.board();
        board.stages[stage] = StageState::Failed;
        let ended = board.end_users(self.plan, stage);
        drop(board);
        for (run, before) in &ended {
            match before {
                RunState::Open(opened) => {
                    self.recorder.end(*run, &error, Some(stage), Some(opened))
                }
                // One that was never begun stays in the queue when everything stops.
                _ if error.is_interruption() => {}
                _ => self.recorder.end(*run, &error, Some(stage), None),
            }
        }
        let runs = ended.into_iter().map(|(run, _)| run).collect();
        self.report(&mut self.board(), runs, error);
        self.changed.notify_all();
    }

    /// Puts together every run whose stages are all settled.
    fn finish_runs(&self) {
        loop {
            let complete = self.board().take_complete(self.plan);
            match complete {
                None => return,
                Some((run, RunState::Open(opened))) => {
                    if let Err(error) = self.recorder.finish(run, &opened) {
                        self.end(&mut self.board(), run, error);
                    } else if let Some(opened) = Arc::into_inner(opened) {
                        opened.shown.done();
                    }
                }
                // All its stages were there before: it only has to be put together.
                Some((run, _)) => drop(self.begin(run)),
            }
        }
    }

    fn end(&self, board: &mut Board, run: usize, error: Error) {
        board.runs[run] = RunState::Ended;
        self.report(board, vec![run], error);
    }

    /// Records a failure, and stops the rest unless `keep_going` is set. If others continue, it is reported
    /// now, because the end may be far off.
    fn report(&self, board: &mut Board, runs: Vec<usize>, error: Error) {
        if !error.is_interruption() {
            let others_go_on = self.options.keep_going || self.options.jobs > 1;
            for &run in runs.iter().filter(|_| others_go_on) {
                let (name, message) = (self.plan.name(run), error.message());
                self.progress.say(&format!("{name}: failed: {message}"));
            }
            if !self.options.keep_going {
                self.stop.after_failure();
            }
        }
        board.failures.push(Failure { runs, error });
    }

    /// Ends the runs that were stopped between two stages.
    fn close(self) -> PlanOutcome {
        let mut board = self.board.into_inner().expect(NO_PANIC);
        let is_complete = board.runs.iter().all(|run| matches!(run, RunState::Done));
        if let Some(why) = self.stop.wanted() {
            let error = why.error("between two stages");
            for (run, state) in board.runs.iter().enumerate() {
                if let RunState::Open(opened) = state {
                    self.recorder.end(run, &error, None, Some(opened));
                }
            }
        }
        // Releases the locks and removes the runs' progress lines.
        board.runs.clear();
        PlanOutcome {
            failures: board.failures,
            is_complete,
        }
    }
}
