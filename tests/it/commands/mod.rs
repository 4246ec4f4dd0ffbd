//! Every command from its arguments to its files, output and exit code.

mod data;
mod failures;
mod help;
mod progress;
mod repeat;
mod run;
mod trained;
mod weights;
