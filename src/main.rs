//! The `attnlab` program: parse, run, print the error once, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    attnlab::commands::main()
}
