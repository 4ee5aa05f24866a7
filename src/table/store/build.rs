//! Sends the calls of the C library that liblmdb makes to lmdb/calls.rs, in the tests and examples of this crate.
//!
//! Every package with a program or a test that changes lmdb tables needs the same.

// A build script talks to Cargo through standard output.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for call in ["fstatfs", "getpid", "lseek", "open", "pwrite", "writev"] {
        println!("cargo::rustc-link-arg=-Wl,--wrap={call},--undefined=__wrap_{call}");
    }
}
