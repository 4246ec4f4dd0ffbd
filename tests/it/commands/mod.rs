//! Every command from its arguments to its files, output and exit code.

mod data;
mod failures;
mod help;
mod repeat;
mod run;
mod show;
mod trained;
mod weights;
