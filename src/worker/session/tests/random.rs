//! Requests that no Postfix client would send.

use super::*;

#[test]
fn two_thousand_random_requests_all_get_one_whole_reply() {
    let names: [&[u8]; 12] = [
        b"hash:/h",
        b"cdb:/h",
        b"lmdb:/h",
        b"texthash:/h",
        b"static:foo",
        b"fail:x",
        b"hash:/none",
        b"regexp:/r",
        b"unix:passwd.byname",
        b"hash:/unapproved",
        b"no colon",
        b"proxy:hash:/h",
    ];
    let keys: [&[u8]; 6] = [b"alice", b"ALICE", b"", b"\xff", b"M\xc3\x9cLLER", b"raw"];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    let corners = [0, u32::MAX, Flags::OPEN_LOCK.0 | Flags::LOCK.0, 48, 0xc, 0x3800, u32::MAX - 1];
    let mut conversation = Conversation::new();
    for round in 0..2_000_u32 {
        conversation.settings.smtputf8_enable = random() % 2 == 0;
        conversation.service = if random() % 4 == 0 { Service::Write } else { Service::Read };
        let flags = match round % 3 {
            0 => corners[random() as usize % corners.len()],
            _ => random(),
        };
        let key = keys[random() as usize % keys.len()];
        let request = Request {
            dialect: if random() % 2 == 0 { Dialect::Old } else { Dialect::New },
            table: names[random() as usize % names.len()],
            instance_flags: Flags(random()),
            flags: Flags(flags),
            call: match random() % 6 {
                0 => Call::Open,
                1 | 2 => Call::Lookup { key },
                3 => Call::Update { key, value: key },
                4 => Call::Delete { key },
                _ if random() % 2 == 0 => Call::Sequence { function: Function::First },
                _ => Call::Sequence { function: Function::Next },
            },
        };
        let reply = conversation.ask_request(&request);
        check_shape(&reply, &request);
    }
}

/// The reply must consist of exactly the attributes that the request's shape has, with sane flags.
fn check_shape(reply: &[u8], request: &Request<'_>) {
    let with_flags: &[&str] = if request.dialect == Dialect::New { &["flags"] } else { &[] };
    let (flags, rest): (&[&str], &[&str]) = match request.call {
        Call::Open => (&["flags"], &[]),
        Call::Lookup { .. } => (with_flags, &["value"]),
        Call::Update { .. } | Call::Delete { .. } => (with_flags, &[]),
        Call::Sequence { .. } => (with_flags, &["key", "value"]),
    };
    let expected = [&["status"], flags, rest].concat();
    let mut tokens = reply.split(|byte| *byte == 0);
    for name in expected {
        assert_eq!(tokens.next(), Some(name.as_bytes()), "{request:?}: {reply:?}");
        let value = tokens.next().unwrap();
        match name {
            "status" => assert!(matches!(value, [b'0'..=b'5']), "{value:?}"),
            "flags" => {
                let flags = Flags(std::str::from_utf8(value).unwrap().parse().unwrap());
                assert!(!flags.contains(Flags::OPEN_LOCK | Flags::LOCK), "{request:?}: {flags:?}");
            }
            _ => {}
        }
    }
    // The NUL that ends the list, and nothing after it.
    assert_eq!(tokens.collect::<Vec<_>>(), [b"", b""], "{request:?}: {reply:?}");
    if request.call == Call::Open {
        assert!(!reply.starts_with(b"status\x002") && !reply.starts_with(b"status\x005"), "{reply:?}");
    }
}
