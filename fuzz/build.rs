//! Sends the calls of the C library that liblmdb makes to the store, as src/table/store/build.rs does for its tests.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for target in ["lmdb_store", "sqlite_store", "bdb_sweep"] {
        for call in ["fstatfs", "getpid", "lseek", "open", "pwrite", "writev"] {
            println!("cargo::rustc-link-arg-bin={target}=-Wl,--wrap={call},--undefined=__wrap_{call}");
        }
    }
}
