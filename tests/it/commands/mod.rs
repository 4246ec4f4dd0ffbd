//! Every command from its arguments to its files, output and exit code.

mod attention;
mod bench;
mod choice;
mod compare;
mod compile;
mod confidence;
mod data;
mod explore;
mod failures;
mod help;
mod kept_out;
mod made;
mod plan;
mod progress;
mod random;
mod repeat;
mod report;
mod run;
mod show;
mod suite;
mod sweep;
mod sweep_figures;
mod text;
mod trained;
mod weights;
