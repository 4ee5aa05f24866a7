//! smtp(8): a remote server refuses its login; `smtp_sasl_auth_cache_name` keeps it from trying again for a while.

use crate::common::postfix::{Instance, Server};
use crate::common::{PATIENCE, poll};
use crate::site::{assert_content, assert_served, cache, keys, reload, stop};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An SMTP server that offers AUTH, and refuses it. It serves until its process ends.
struct Refusing {
    port: u16,
    attempts: Arc<AtomicUsize>,
}

impl Refusing {
    fn start() -> Refusing {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&attempts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || {
                    // A client that goes away is no matter.
                    let _ = converse(stream, &counter);
                });
            }
        });
        Refusing { port, attempts }
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

fn converse(stream: TcpStream, attempts: &AtomicUsize) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut out = stream.try_clone()?;
    let lines = BufReader::new(stream).lines();
    out.write_all(b"220 refusing.example ESMTP\r\n")?;
    for line in lines {
        let reply: &[u8] = match line?.get(..4).unwrap_or_default() {
            "EHLO" => b"250-refusing.example\r\n250 AUTH PLAIN LOGIN\r\n",
            "AUTH" => {
                attempts.fetch_add(1, Ordering::SeqCst);
                b"535 5.7.8 not you\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        out.write_all(reply)?;
        if reply.starts_with(b"221") {
            break;
        }
    }
    Ok(())
}

/// Reloads, and waits until mail is delivered again: a queue manager that is just leaving may overlook a new message.
fn reload_and_settle(mail: &Instance) {
    reload(mail);
    let delivered = || {
        let mut smtp = mail.smtp();
        let id = smtp.deliver("a@client.example", "root@local.example");
        smtp.quit();
        let line =
            || mail.log_lines().into_iter().find(|line| line.contains(&id) && line.contains("status=sent"));
        poll(Duration::from_secs(3), line)
    };
    assert!(poll(PATIENCE, delivered).is_some(), "no delivery after a reload");
}

/// One login is refused; deliveries after that are deferred without another, also after a reload, until the password
/// is another one, or the entry has expired.
pub fn refused_logins_are_cached(server: Server, kind: &str) {
    let remote = Refusing::start();
    let mut mail = Instance::new(server);
    let cache = cache(&mail, kind, "sasl_cache");
    mail.service("smtp unix - - y - - smtp");
    mail.set("relay_domains", "away.example");
    mail.set("relay_recipient_maps", "");
    mail.set("relay_transport", &format!("smtp:[127.0.0.1]:{}", remote.port));
    mail.set("smtp_sasl_auth_enable", "yes");
    mail.set("smtp_sasl_password_maps", "static:user:one");
    mail.set("smtp_sasl_security_options", "noanonymous");
    mail.set("smtp_sasl_mechanism_filter", "plain");
    mail.set("smtp_sasl_auth_cache_name", &format!("proxy:{cache}"));
    mail.set("smtp_sasl_auth_soft_bounce", "yes");
    mail.set("smtp_connection_cache_on_demand", "no");
    // A destination that has failed is tried nevertheless for the next message.
    mail.set("smtp_destination_concurrency_failed_cohort_limit", "0");
    mail.set("default_destination_concurrency_failed_cohort_limit", "0");
    mail.start();

    let refused = |mail: &Instance, number: usize, cached: bool| {
        let to = format!("user{number}@away.example");
        let mut smtp = mail.smtp();
        let id = smtp.deliver("a@client.example", &to);
        smtp.quit();
        let line = mail.wait_for_log(&["/smtp[", &id, &format!("to=<{to}>"), "status=deferred"], PATIENCE);
        assert!(line.contains("SASL") && line.contains("authentication failed"), "{line}");
        assert_eq!(line.contains("[CACHED]"), cached, "{line}");
    };
    refused(&mail, 1, false);
    assert_eq!(remote.attempts(), 1);
    refused(&mail, 2, true);
    refused(&mail, 3, true);
    assert_served(&mail, "sasl_cache");
    reload_and_settle(&mail);
    refused(&mail, 4, true);
    assert_eq!(remote.attempts(), 1, "the cache was not asked");

    mail.set("smtp_sasl_password_maps", "static:user:two");
    reload_and_settle(&mail);
    refused(&mail, 5, false);
    refused(&mail, 6, true);
    assert_eq!(remote.attempts(), 2, "another password is tried once");

    mail.set("smtp_sasl_auth_cache_time", "1s");
    reload_and_settle(&mail);
    // The entry is over a second old by the time that this message gets there, or by that of the next.
    let expired = poll(PATIENCE, || {
        let mut smtp = mail.smtp();
        let id = smtp.deliver("a@client.example", "late@away.example");
        smtp.quit();
        mail.wait_for_log(&["/smtp[", &id, "status=deferred"], PATIENCE);
        (remote.attempts() > 2).then_some(())
    });
    assert!(expired.is_some(), "an expired entry still counts");
    stop(&mail);
    let left = keys(&mail, &cache);
    assert!(left.len() == 1 && left[0].contains("user"), "{left:?}");
    assert_content(&mail, &[]);
}
