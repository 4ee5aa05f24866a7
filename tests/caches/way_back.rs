//! The way back to stock's proxywrite after a crash, step by step as the README has it.

use crate::common::PATIENCE;
use crate::common::postfix::{Instance, Server};
use crate::common::process;
use crate::site::{assert_content, stop};
use crate::verify::{ask_all, furnished};
use std::process::{Command, Output};

fn checkpoint(mail: &Instance) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapkeep"));
    command.arg("checkpoint").arg("-c").arg(mail.path("etc")).output().unwrap()
}

/// Everything is killed while verify(8)'s entries are in the store only. Stock has them after these steps; and if a
/// checkpoint is requested once more while stock serves the file, stock's entries stay, too.
pub fn stock_continues_after_a_crash(server: Server, kind: &str) {
    assert_eq!(server, Server::Ours);
    let (mail, _) = furnished(server, kind);
    mail.start();
    let probes = ask_all(&mail);
    let family: Vec<u32> = mail.daemons("mapkeepd").iter().map(|p| p.pid).collect();
    family.iter().for_each(|pid| process::signal("KILL", *pid));
    assert_eq!(process::wait_gone(&family, PATIENCE), []);

    stop(&mail);
    let out = checkpoint(&mail);
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("verify_cache.db: written"), "{said}");
    let mut postconf = Command::new("postconf");
    postconf.arg("-c").arg(mail.path("etc")).args(["-F", "proxywrite/unix/command = proxymap"]);
    assert!(postconf.status().unwrap().success());
    mail.start();

    assert_eq!(ask_all(&mail), probes, "stock lacks what had been learnt");
    assert!(!mail.daemons("proxymap").is_empty());
    let out = checkpoint(&mail);
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(75), "{said}");
    assert!(said.contains("NOT written, because proxymap (process "), "{said}");
    assert_eq!(ask_all(&mail), probes, "stock has lost its file");
    stop(&mail);
    assert_content(&mail, &["killed by signal 9"]);
}
