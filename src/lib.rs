//! attnlab: one TOML file pretrains, finetunes, evaluates and plots a transformer whose widths are compiled in.
//!
//! # Data flow
//!
//! ```text
//! experiments/**/*.toml ─ config::load ─ Experiment ─ sweep × seeds ─ plan: [run: [stage]]
//!    a suite ─ config::load_suite, under a profile ─ [Experiment], one after the other ─ one report
//!    stage ─ key: BLAKE3 of settings read, inputs, code ─┬─ its results are there: reused
//!                                                        └─ execute, from its last checkpoint
//!    execute ─ model::registry ─ Box<dyn Trainable> ─────┐
//!    execute ─ data.open ─ Corpus ─ objective ─ dyn Task ┴─ train::fit ─ metrics.csv, validation.csv ─ weights
//!    weights ─ eval ─ predictions/*.tsv, held_out/*.csv, attention_maps.csv
//! explore ─ CurveRow*, SampleRow* ─ curves.csv, samples.csv  (no data, no model)
//! results of stages ─ assemble ─ the folder of the run
//! metrics.csv, predictions/*.tsv, … ┬ pipeline::summary ─ summary.csv, choice.csv, findings.csv; plot ─ SVG + PNG + CSV
//!                                   └ pipeline::compare ─ two recipes side by side
//! the files of runs, their tables and figures ─ report ─ one HTML page, Markdown, LaTeX tables
//! ```
//!
//! Data flows left to right only; no files depend on each other in a circle, except a folder's `mod.rs` and its files. The CSV is a
//! border: everything to the right of it reads files alone, so figures can be redrawn without a model or a GPU.
//!
//! # The modules, in reading order
//!
//! | module | what it is for |
//! |---|---|
//! | [`cli`], [`commands`] | the command line as types; one match from command to function |
//! | [`config`] | reads TOML into typed settings and reports every mistake with its line; [`config::schema`] is the manual; a [`config::Suite`] is several experiments |
//! | [`kinds`] | tables whose `kind` says which further keys they have; [`data::KINDS`] and [`plot::KINDS`] list the kinds, each a module of its own |
//! | [`pipeline`] | [`pipeline::run`], and [`pipeline::suite::each`] of several: [`pipeline::plan`], `execute`, [`pipeline::summary`]; what a [`pipeline::stage`] depends on, and the [`metrics::artefacts`] that it makes |
//! | [`data`] | the kinds of data (made-up biographies, the assignment's corpus, your own text, made tasks), what a token is, [`data::objectives`], ragged batches; [`data::fetch`] |
//! | [`train`] | [`train::fit`]: one loop for every stage, from any position; [`train::checkpoint`]; the learning rate as a pure function, [`train::schedule`]; the model applies it in `ops::optimiser` |
//! | [`model`] | [`model::Trainable`], its only interface; behind it `gpt.rs`, blocks, the layouts of attention, weights |
//! | [`ops`] | fused operations, one folder each: plain reference, fast CPU path, CUDA; `ops::decoding` is the interface of incremental decoding (`ops::attention::kv_cache` is the KV cache); `ops::cuda` (built with that feature) is the GPU itself |
//! | [`eval`] | batched decoding, scores of held-out data, [`eval::measures`] of both, where heads look, scores of text |
//! | [`explore`] | question 1 of the assignment as arithmetic: what an attention head can do |
//! | [`metrics`] | the rows of every table, CSV, intervals; [`metrics::measured::Measured`]: the finished runs from which tables and figures are made |
//! | [`plot`] | figures from numbers; fonts are built in |
//! | [`mod@report`] | experiments as an HTML page, Markdown and LaTeX tables, from their files |
//! | [`mod@bench`] | [`bench::measure`]: how fast a step is, by its parts and against the device |
//! | [`error`], [`files`], [`labels`], [`progress`], [`stop`] | errors as values, whole files or none, labels shortened but kept distinct, progress output, signals such as Ctrl-C |
//!
//! # From a TOML to a compiled shape
//!
//! Widths of the stream and of the MLP, vocabulary and context are constants; layers, heads, what attention computes,
//! and the number of tokens in a batch are not. This library is compiled without any such shape. The program, a package of
//! its own (`main.rs`), instantiates one [`model::registry::Compiled`] for each shape in `shapes.txt` beside it,
//! which its build script (`build_shapes.rs`) reads. When a command needs a shape that is not there, `commands::compile` adds
//! it to that file, has cargo build the program, and the new program goes on with the command.
//!
//! # Invariants
//!
//! * No batch has padding: documents lie one after another ([`data::ragged`]).
//! * Nothing is drawn from a shared generator: every draw (weights, corruption, order, dropout) has
//!   a key of its own. Same seed on the same processor: same bits, for any number of threads.
//! * No file is half-written: all are written beside and renamed, or grow by whole rows.
//! * Nothing depends on a clock: no file times, no dates. Times are written for people alone.
//! * No stage resumes from, or is reused with, a file that is not to the byte what was written: results have their
//!   checksums in `done.json`, checkpoints their own.
//! * No folder is written by two processes: a run and a stage have a lock each, which the system
//!   releases when its holder dies, and a claim file with the holder's name and heartbeat, for file systems without locks.
//! * No step with a loss or gradient that is not finite changes a weight, and no weight, logit or number
//!   of a table that is not finite becomes part of a result.
//! * Numbers reported by others are never shown as ours: `reported` has its own rows and markers.
//! * `dfdx` appears only in [`model`] and [`ops`], `toml` only in [`config`], `csv` only in [`metrics`], `plotters` only in [`plot`], `tokenizers` only in [`data`], `askama`,
//!   `base64` and `roxmltree` only in [`mod@report`], `clap` and `clap_complete` only in [`cli`]; `ops`
//!   knows no model, `train` no dimension, `plot` and `report` neither model nor data, `explore` no model; `unsafe`
//!   stands only in `ops`. A test reads the source and holds to it.
//!
//! # Crates, and why
//!
//! `dfdx` is the tensor, tape and device underneath. `gemm-f32` (with `gemm-common`) multiplies matrices on processors for which
//! `ops` has no kernel of its own, `pulp` compiles loops for the processor at hand, `rayon` spreads them;
//! `libc` has the setting by which glibc keeps freed memory. `clap` reads the command line,
//! `clap_complete` completes it. `figment` layers settings, `toml` finds their
//! lines, `strsim` the spelling that was meant, `glob` matches names of parameters, and `schemars` makes a JSON Schema of their types
//! (`serde_json` writes it). `plotters` writes the SVG, `resvg` turns it into outlines and PNG with
//! the fonts of `epaint_default_fonts`, so that text shows on a machine with no fonts. `askama` fills
//! the templates of reports and escapes what it fills in, `roxmltree` sees whether an SVG may stand in
//! a page, `base64` writes pictures and sums into one.
//! `safetensors` holds weights (`bytemuck` sees floats as bytes), `csv` and `serde` tables, with
//! `serde-aux` for the header of an empty one; `statrs` has Student's quantiles and logarithms of
//! binomials. `ureq` fetches data, `sha2` checks it and draws searches (with `libm`, whose logarithms
//! are the same on all platforms), `tokenizers` splits text as the `tokenizer.json` of a pretrained model says, `blake3` names stages and seals checkpoints, `directories` knows where
//! data goes, `tempfile` writes beside. `rand_chacha` and `rand_distr` draw, `indicatif` shows progress
//! as wide as `console` says the terminal is, `signal-hook` hears the user; `jiff` and `sysinfo` tell
//! time and machine to the provenance, and `sysinfo` whether the holder of a lock is still running.

pub mod bench;
pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod error;
pub mod eval;
pub mod explore;
pub mod files;
pub mod kinds;
pub mod labels;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod pipeline;
pub mod plot;
pub mod progress;
pub mod report;
pub mod stop;
pub mod train;

/// The folder of the sources that the library is built from; on another machine it may not exist.
pub(crate) fn sources() -> &'static std::path::Path {
    let library = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    library.parent().expect("the library lies in `src`")
}
