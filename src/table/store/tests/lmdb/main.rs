//! The lmdb engine on real files: beside real Postfix programs, killed, without room, on damaged files.
//!
//! Some tests need a process of their own; they start this program again with `--exact child`.

#![cfg(test)]

mod calls;
mod crash;
mod damage;
mod model;
mod raw;
mod room;
mod share;
mod support;

/// Not a test: what the processes run that the tests start. Alone it does nothing.
#[test]
#[ignore = "the tests start it"]
fn child() {
    let Ok(role) = std::env::var(support::ROLE) else { return };
    let part = |at: usize| role.split(' ').nth(at).unwrap_or_default();
    match part(0) {
        "writer" => crash::writer(part(1).as_ref()),
        "limited" => room::limited(part(1).as_ref()),
        "damaged" => damage::use_all(part(1).parse().unwrap(), part(2).parse().unwrap()),
        "confined" => calls::confined(part(1).as_ref(), part(2)),
        "failing" => calls::failing(part(1).as_ref(), part(2)),
        other => panic!("no such role: {other}"),
    }
}
