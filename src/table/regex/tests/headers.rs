//! The longest header that Postfix takes (header_size_limit: 102,400 bytes) is answered under ordinary rules; keys that
//! would hold the process for many seconds are given up. By the real clock.
#![cfg(test)]

use std::ffi::CString;
use std::time::{Duration, Instant};

use mapkeep_table_regex::{MatchError, Time, pcre, posix};

/// What a rule has at least.
const BUDGET: Duration = Duration::from_millis(280);

const PCRE: pcre::Flags = pcre::Flags::POSTFIX;
const POSIX: posix::Flags = posix::Flags::POSTFIX;

/// Rules as they are found in header_checks, body_checks and client restrictions.
const RULES: [&str; 15] = [
    "^Subject: .*viagra",
    "^(To|Cc|From): .*@example\\.(com|net)",
    "buy cheap .*pills",
    "free (money|cash|offer)",
    "[^ ]+@[^ ]+\\.ru$",
    "^Received: from .*\\[(10|192\\.168|172\\.(1[6-9]|2[0-9]|3[01]))\\.",
    "name=[^>]*\\.(bat|com|exe|pif|scr|vbs)",
    "=\\?(koi8-r|big5|gb2312)\\?",
    "^Message-ID: <[^@]+@localhost",
    "^(.{1,64})@(.{1,255})$",
    "[[:space:]]{100,}",
    "v[i1]agr[a@]",
    "<iframe[^>]*src=",
    "^X-Mailer: (The Bat|Outlook Express 4)",
    "(https?://)?([a-z0-9-]+\\.)+(biz|top|xyz)/",
];

/// A long list of recipients, a long list of message ids, and prose.
fn headers() -> [Vec<u8>; 3] {
    let fill = |start: &str, part: &dyn Fn(usize) -> String| {
        let mut text = Vec::from(start);
        for number in 0.. {
            text.extend_from_slice(part(number).as_bytes());
            if text.len() >= 102_400 {
                break;
            }
        }
        text.truncate(102_400);
        text
    };
    [
        fill("To: ", &|number| format!("Some Body <some.body{number}@example{}.org>,\n ", number % 77)),
        fill("References: ", &|number| format!("<{number:x}f{number}.{number}$a@mail.example.org>\n ")),
        fill("Subject: ", &|number| {
            format!("the quick brown fox number {number} jumps over the lazy dog, again; ")
        }),
    ]
}

fn by_pcre(pattern: &str, subject: &[u8]) -> Result<bool, MatchError> {
    let regex = pcre::Regex::compile(pattern.as_bytes(), PCRE).unwrap();
    let mut matcher = pcre::Matcher::new(regex.groups()).unwrap();
    let began = Instant::now();
    let left = || BUDGET.saturating_sub(began.elapsed());
    matcher.exec(&regex, subject, false, Time { now: BUDGET, left: &left }).map(|found| found.is_some())
}

fn by_posix(pattern: &str, subject: &[u8]) -> Result<bool, MatchError> {
    let regex = posix::Regex::compile(pattern.as_bytes(), POSIX, false).unwrap();
    let subject = CString::new(subject).unwrap();
    let began = Instant::now();
    let left = || BUDGET.saturating_sub(began.elapsed());
    regex.exec(&subject, Time { now: BUDGET, left: &left }).map(|found| found.is_some())
}

#[test]
fn the_longest_header_is_answered_under_ordinary_rules() {
    for rule in RULES {
        for header in headers() {
            let what = String::from_utf8_lossy(&header[..20]).into_owned();
            // Other programs of this machine may take the processor for a while.
            let tries = || (0..5).map(|_| (by_pcre(rule, &header), by_posix(rule, &header)));
            let answered = tries().find(|(pcre, posix)| pcre.is_ok() && posix.is_ok());
            let (pcre, posix) = answered.unwrap_or_else(|| panic!("{rule} on {what}: {:?}", tries().next()));
            assert_eq!(pcre, posix, "{rule} on {what}");
        }
    }
}

#[test]
fn keys_that_take_quadratic_time_are_given_up() {
    let dsl = "(dsl|cable|[0-9]+[.-][0-9]+).*\\.(net|com)$";
    let digits: Vec<u8> = [b'1'; 250_000].into_iter().chain(*b"!").collect();
    let dots: Vec<u8> = b"1.23-4".iter().copied().cycle().take(250_000).chain(*b"!").collect();
    for (pattern, key) in [(dsl, &digits), ("[0-9]+(@|x)", &digits), (dsl, &dots)] {
        assert_eq!(by_posix(pattern, key), Err(MatchError::OutOfTime), "{pattern}");
    }
    assert_eq!(by_pcre(dsl, &dots), Err(MatchError::OutOfTime));
    let many: Vec<u8> = b"aaaaaaaaaaaaaaaa!".iter().copied().cycle().take(250_000).collect();
    assert_eq!(by_pcre("(a+)+$", &many), Err(MatchError::OutOfTime));
}
