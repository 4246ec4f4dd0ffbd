//! The build script of the library: records the version of the compiler, for the provenance of runs.

use std::process::Command;

#[allow(clippy::print_stdout)] // cargo reads directives from a build script's stdout
fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output();
    let version = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    let version = version.unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo::rerun-if-changed=rustc_version.rs");
    println!("cargo::rustc-env=RUSTC_VERSION={version}");
}
