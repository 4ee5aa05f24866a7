//! Links the tests of this crate as every program must be that changes lmdb tables: see src/table/store/lmdb/calls.rs.

// A build script talks to Cargo through standard output.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-link-arg=-Wl,--wrap=open,--wrap=fstatfs,--wrap=getpid,--wrap=lseek,--wrap=pwrite,--wrap=writev"
    );
}
