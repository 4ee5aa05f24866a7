//! Sends the calls of the C library that liblmdb makes in `mapkeep-writer` to src/table/store/lmdb/calls.rs, which answers
//! them from received descriptors. Without these lines no lmdb table opens.

// A build script talks to Cargo through standard output.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for call in ["fstatfs", "getpid", "lseek", "open", "pwrite", "writev"] {
        println!("cargo::rustc-link-arg-bin=mapkeep-writer=-Wl,--wrap={call},--undefined=__wrap_{call}");
    }
}
