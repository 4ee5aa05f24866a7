//! verify(8): probes of recipients, their results in `address_verify_map`, and its clean-up.

use crate::common::PATIENCE;
use crate::common::poll;
use crate::common::postfix::{Instance, Server};
use crate::common::process;
use crate::site::{assert_content, assert_served, cache, count, keys, reload, stop, wait_for_clean_up};

const GOOD: [&str; 4] = ["one@good.example", "two@good.example", "three@good.example", "four@good.example"];
const BAD: [&str; 3] = ["one@bad.example", "two@bad.example", "three@bad.example"];

pub fn furnished(server: Server, kind: &str) -> (Instance, String) {
    let mut mail = Instance::new(server);
    let cache = cache(&mail, kind, "verify_cache");
    let transport = mail.table("texthash", "transport", "bad.example error:5.1.1 nobody here\n");
    mail.set("relay_domains", "good.example bad.example");
    mail.set("relay_recipient_maps", "");
    mail.set("transport_maps", &format!("proxy:{transport}"));
    mail.set("smtpd_recipient_restrictions", "reject_unverified_recipient");
    mail.set("unverified_recipient_reject_code", "550");
    mail.set("address_verify_poll_delay", "1s");
    mail.set("address_verify_poll_count", "30");
    mail.set("address_verify_map", &format!("proxy:{cache}"));
    (mail, cache)
}

/// Asks for all recipients, each in its own session, since smtpd(8) sleeps between two checks of a probe. Returns how
/// many probes have been made so far.
pub fn ask_all(mail: &Instance) -> usize {
    let ask = |to: &str| {
        let mut smtp = mail.smtp();
        smtp.mail("someone@client.example");
        let reply = smtp.rcpt(to);
        smtp.quit();
        let right = match GOOD.contains(&to) {
            true => reply.code == 250,
            false => reply.code == 550 && reply.text.contains("nobody here"),
        };
        assert!(right, "{to}: {reply:?}");
    };
    std::thread::scope(|scope| GOOD.iter().chain(&BAD).for_each(|to| drop(scope.spawn(move || ask(to)))));
    count(mail, &["status=deliverable"]) + count(mail, &["status=undeliverable"])
}

/// One probe for each recipient; then the cache answers, also after a reload, which ends the writing service. Then the
/// entries expire, and the clean-up removes them.
pub fn probes_are_cached_and_cleaned_up(server: Server, kind: &str) {
    let (mut mail, cache) = furnished(server, kind);
    mail.start();
    let probes = ask_all(&mail);
    assert_eq!(probes, GOOD.len() + BAD.len());
    assert_eq!(ask_all(&mail), probes, "the cache was not asked");
    assert_served(&mail, "verify_cache");
    reload(&mail);
    assert_eq!(ask_all(&mail), probes, "the cache was lost by a reload");

    for name in
        ["positive_refresh_time", "negative_refresh_time", "positive_expire_time", "negative_expire_time"]
    {
        mail.set(&format!("address_verify_{name}"), "1s");
    }
    mail.set("address_verify_cache_cleanup_interval", "2s");
    let seen = mail.log_lines().len();
    reload(&mail);
    // Starts verify(8), with an entry of its own. It may expire before it is asked for.
    let mut smtp = mail.smtp();
    smtp.mail("someone@client.example");
    assert!(matches!(smtp.rcpt("last@good.example").code, 250 | 450));
    // The first scan may come upon entries that are not old enough yet; others follow.
    let scans = wait_for_clean_up(&mail, seen, "/verify[", 1);
    assert!(scans.iter().any(|(_, dropped)| *dropped > 0), "{scans:?}");
    smtp.quit();
    stop(&mail);
    let left = keys(&mail, &cache);
    assert!(left.contains(&"_LAST_CACHE_CLEANUP_COMPLETED_".to_string()), "{left:?}");
    let expired: Vec<&String> =
        left.iter().filter(|key| GOOD.iter().chain(&BAD).any(|to| to == key)).collect();
    assert!(expired.is_empty(), "{expired:?}");
    assert_content(&mail, &[]);
}

/// mapkeepd only: the writer is killed again and again; no probe is made twice, and no mail program complains.
pub fn writer_is_killed_between_probes(server: Server, kind: &str) {
    let (mail, cache) = furnished(server, kind);
    mail.start();
    let probes = ask_all(&mail);
    for _ in 0..3 {
        let writers = || -> Vec<u32> {
            let below = mail.daemons("mapkeepd").into_iter().flat_map(|p| process::descendants(p.pid));
            below.filter(|p| p.command.starts_with("mapkeep: writer")).map(|p| p.pid).collect()
        };
        let victims = poll(PATIENCE, || Some(writers()).filter(|w| !w.is_empty())).expect("a writer");
        victims.iter().for_each(|pid| process::signal("KILL", *pid));
        assert_eq!(process::wait_gone(&victims, PATIENCE), []);
        assert_eq!(ask_all(&mail), probes, "the cache was lost with the writer");
    }
    stop(&mail);
    let left = keys(&mail, &cache);
    assert!(GOOD.iter().chain(&BAD).all(|to| left.iter().any(|key| key == to)), "{left:?}");
    assert_content(&mail, &["writer "]);
}
