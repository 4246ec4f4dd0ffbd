//! Every command from its arguments to its files, output and exit code.

mod compare;
mod data;
mod failures;
mod help;
mod repeat;
mod run;
mod trained;
mod weights;
