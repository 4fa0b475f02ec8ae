//! What does not compile, and what the compiler says. `TRYBUILD=overwrite` renews the messages.
//!
//! They differ with the compiler, so they are held by one version of it, and with what else
//! implements a trait, so they are held with all features.
#![cfg(feature = "full")]

use std::{env, process::Command};

const COMPILER: &str = "rustc 1.95.";

#[test]
fn mistakes_are_explained() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if version.starts_with(COMPILER) {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    } else {
        println!("skipped: the messages are those of {COMPILER}*, this is {version}");
    }
}
