//! Scenarios in which a table changes while SMTP sessions go on.

use super::{assert_code, furnished};
use crate::common::postfix::{Instance, Server, Way};
use crate::common::stopwatch::poll_promise;
use crate::common::{FRESH, PATIENCE, poll};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Relay recipients for the scenarios in which tables change: one table of each kind, one domain each.
fn changeable(server: Server, kinds: &[&str]) -> Instance {
    let mut mail = Instance::new(server);
    let mut maps = Vec::new();
    let mut domains = Vec::new();
    for kind in kinds {
        maps.push(format!("proxy:{}", mail.table(kind, kind, &format!("old@{kind}.example ok\n"))));
        domains.push(format!("{kind}.example"));
    }
    mail.set("relay_domains", &domains.join(" "));
    mail.set("relay_recipient_maps", &maps.join(", "));
    mail.start();
    mail
}

/// Asks for recipients until `done`; returns the time that took. Any answer but 250 and 550 fails at once.
fn until_answer(what: &str, within: Duration, mut code: impl FnMut() -> u16, done: u16) -> Duration {
    let start = Instant::now();
    let look = || {
        let got = code();
        assert!(got == 250 || got == 550, "{what}: answered {got} while waiting for {done}");
        (got == done).then(|| start.elapsed())
    };
    poll_promise(within, look).unwrap_or_else(|| panic!("{what}: no {done} within {within:?}"))
}

/// A table rebuilt during an SMTP session: `postmap` rewrites hash in place and renames cdb.
///
/// mapkeepd serves the new version to the open session. Stock checks its files only when a client connects, so only a
/// later session must see the change.
pub fn table_rebuilt_during_a_session(server: Server) {
    let kinds: &[&str] = match server {
        Server::Stock => &["hash", "btree", "cdb"],
        // Stock never notices a new lmdb file by itself; texthash it never reads again at all.
        Server::Ours => &["hash", "btree", "cdb", "lmdb", "texthash"],
    };
    let mail = changeable(server, kinds);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    for kind in kinds {
        assert_code(&mut smtp, &format!("old@{kind}.example"), 250, "");
        assert_code(&mut smtp, &format!("new@{kind}.example"), 550, "");
    }
    // Stock compares whole seconds: a rebuild within the second of the first open would go unseen.
    let opened = Instant::now();
    poll(PATIENCE, || (opened.elapsed() > Duration::from_millis(1100)).then_some(()));
    for kind in kinds {
        mail.table(kind, kind, &format!("new@{kind}.example ok\n"));
        let recipient = format!("new@{kind}.example");
        match server {
            Server::Ours => {
                until_answer(kind, FRESH, || smtp.rcpt(&recipient).code, 250);
                assert_code(&mut smtp, &format!("old@{kind}.example"), 550, "");
            }
            Server::Stock => {
                let ask = || {
                    let mut later = mail.smtp();
                    later.mail("someone@client.example");
                    let code = later.rcpt(&recipient).code;
                    later.quit();
                    code
                };
                until_answer(kind, PATIENCE, ask, 250);
            }
        }
    }
    assert_code(&mut smtp, "new@hash.example", 250, "");
    smtp.quit();
}

/// mapkeepd only: an edited transport text steers the next message, without a restart of anything.
pub fn edited_text_table_steers_the_next_message(server: Server) {
    let mail = furnished(server, Way::Relative);
    let mut smtp = mail.smtp();
    let id = smtp.deliver("a@client.example", "first@routed.example");
    mail.wait_for_log(&["/discard[", &id, "(by-texthash)"], PATIENCE);
    let before: Vec<u32> = mail.daemons("mapkeepd").iter().map(|p| p.pid).collect();
    mail.table("texthash", "transport", "routed.example discard:by-edited-text\n");
    let mut count = 0;
    // trivial-rewrite answers qmgr's repeated questions from memory, so each message has a recipient of its own.
    let look = || {
        count += 1;
        let id = smtp.deliver("a@client.example", &format!("later{count}@routed.example"));
        let line = mail.wait_for_log(&["/discard[", &id, "status=sent"], PATIENCE);
        line.contains("(by-edited-text)").then_some(())
    };
    assert!(
        poll_promise(FRESH, look).is_some(),
        "still the old route for a message sent later than {FRESH:?} after the edit"
    );
    let after: Vec<u32> = mail.daemons("mapkeepd").iter().map(|p| p.pid).collect();
    assert_eq!(before, after, "the service went on without a restart");
    smtp.quit();
}

/// A table that is missing when Postfix starts answers 451. mapkeepd serves it as soon as it is there; stock, which keeps
/// the failed open, is only asked for the 451.
pub fn missing_table_appears(server: Server) {
    let mut mail = Instance::new(server);
    let later = mail.table_name("hash", "later");
    let there = mail.table("hash", "there", "ann@relay.example ok\n");
    mail.set("relay_domains", "relay.example");
    mail.set("relay_recipient_maps", &format!("proxy:{there}, proxy:{later}"));
    mail.start();
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert_code(&mut smtp, "ann@relay.example", 250, "");
    assert_code(&mut smtp, "bob@relay.example", 451, "Temporary lookup failure");
    if server == Server::Ours {
        let before: Vec<u32> = mail.daemons("mapkeepd").iter().map(|p| p.pid).collect();
        mail.table("hash", "later", "bob@relay.example ok\n");
        let served = poll_promise(FRESH, || (smtp.rcpt("bob@relay.example").code == 250).then_some(()));
        assert!(served.is_some(), "the new table was not served within {FRESH:?}");
        assert_code(&mut smtp, "carl@relay.example", 550, "User unknown");
        let after: Vec<u32> = mail.daemons("mapkeepd").iter().map(|p| p.pid).collect();
        assert_eq!(before, after, "served without a restart");
    }
    smtp.quit();
}

/// mapkeepd only: after a rebuild that leaves a broken file, the old version stays in use, and the log says why.
pub fn broken_rebuild_keeps_the_old_answers(server: Server) {
    let mail = changeable(server, &["hash", "cdb", "lmdb"]);
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    for (kind, file) in [("hash", "hash.db"), ("cdb", "cdb.cdb"), ("lmdb", "lmdb.lmdb")] {
        assert_code(&mut smtp, &format!("old@{kind}.example"), 250, "");
        let seen = mail.log_lines().len();
        fs::write(mail.table_path(file), b"this is no table").expect("the file can be broken");
        let name = mail.table_path(kind).display().to_string();
        mail.wait_for_later_log(seen, &["/proxymap[", "warning: ", &name], PATIENCE);
        assert_code(&mut smtp, &format!("old@{kind}.example"), 250, "");
        assert_code(&mut smtp, &format!("new@{kind}.example"), 550, "");
        // postmap continues an existing lmdb file, and cannot do so with a broken one.
        fs::remove_file(mail.table_path(file)).expect("the file can be removed");
        mail.table(kind, kind, &format!("new@{kind}.example ok\n"));
        until_answer(kind, FRESH, || smtp.rcpt(&format!("new@{kind}.example")).code, 250);
    }
    smtp.quit();
}

/// mapkeepd only: while `postmap` rebuilds tables again and again, an entry in both the old and the new version is
/// always found, and a key in neither never is.
pub fn rebuilds_are_never_seen_half_done(server: Server) {
    let kinds = ["hash", "btree", "cdb", "lmdb"];
    let mail = changeable(server, &kinds);
    let content = |kind: &str, round: usize| {
        let filler = (0..3000)
            .map(|i| format!("filler{i}@{kind}.example {}\n", "v".repeat((i * (round + 1)) % 60 + 1)));
        format!("{}old@{kind}.example ok\n", filler.collect::<String>())
    };
    let rebuilt = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (round, kind) in (0..6).flat_map(|round| kinds.map(|kind| (round, kind))) {
                mail.table(kind, kind, &content(kind, round));
            }
            rebuilt.store(true, Ordering::Release);
        });
        let mut smtp = mail.smtp();
        smtp.mail("someone@client.example");
        let mut rounds = 0;
        while !rebuilt.load(Ordering::Acquire) || rounds == 0 {
            for kind in kinds {
                assert_code(&mut smtp, &format!("old@{kind}.example"), 250, "");
                assert_code(&mut smtp, &format!("never@{kind}.example"), 550, "User unknown");
            }
            rounds += 1;
        }
        until_answer("filler", FRESH, || smtp.rcpt("filler2999@lmdb.example").code, 250);
        smtp.quit();
    });
}
