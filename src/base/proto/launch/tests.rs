use super::*;
use crate::message::tests::survives;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

fn process(ids: Option<Ids>) -> Process {
    Process { parent: 4711, ids, verbose: true }
}

fn serving() -> Serving {
    Serving {
        names_size: 1 << 40,
        listeners: 3,
        smtputf8: true,
        approval_known: false,
        inside: "/var/spool/postfix".into(),
        room: 19_000,
        daemon_timeout: Duration::from_secs(18_000),
    }
}

/// One of each kind, with different values everywhere.
fn launches() -> Vec<Launch> {
    let ids = Some(Ids { uid: 61_100, gid: 61_101 });
    let odd_path: PathBuf = OsStr::from_bytes(b"/a b=c,\xff\n").into();
    let broker = BrokerLaunch {
        process: process(ids),
        serving: serving(),
        owners: vec![0, 105, u32::MAX],
        owners_text: "postfix, vmäil".into(),
        trusted_directories: "/a /b".into(),
        snapshot_limit: u64::MAX,
        max_use: 100,
        workers: 64,
        backends: Backends {
            query_timeout: Duration::from_secs(10),
            connections: 258,
            max_reply: 100_000,
            max_query: 10_000,
            queue_directory: "/var/spool/postfix".into(),
            dialer: true,
            gateways: false,
        },
    };
    let worker = WorkerLaunch {
        process: process(None),
        duty: Duty::Rules,
        chroot: odd_path.clone(),
        descriptors: 20_000,
        tables: 65_535,
        snapshot_limit: 1,
        tells: true,
    };
    let writer =
        WriterLaunch { process: process(ids), chroot: odd_path.clone(), descriptors: 1024, tables: 7 };
    let gateway = GatewayLaunch { process: process(None), chroot: odd_path.clone(), descriptors: 200 };
    let logger = |destination| LoggerLaunch {
        process: process(ids),
        destination,
        facility: 2,
        ident: "postfix/proxymap".into(),
        host: String::new(),
    };
    vec![
        Launch::Broker(broker.clone()),
        Launch::Broker(BrokerLaunch { owners: vec![], process: process(None), ..broker }),
        Launch::Worker(WorkerLaunch { duty: Duty::Clients, ..worker.clone() }),
        Launch::Worker(worker),
        Launch::WriteBroker(WriteBrokerLaunch { process: process(ids), serving: serving() }),
        Launch::Writer(writer),
        Launch::Logger(logger(LogTo::Syslog("/dev/log".into()))),
        Launch::Logger(logger(LogTo::Postlog(odd_path))),
        Launch::Logger(logger(LogTo::Stderr)),
        Launch::Gateway(gateway),
        Launch::Dialer(DialerLaunch {
            process: process(ids),
            groups: vec![8, u32::MAX],
            account: "postfix".into(),
            ipv4: true,
            ipv6: false,
        }),
        Launch::Dialer(DialerLaunch {
            process: process(None),
            groups: vec![],
            account: String::new(),
            ipv4: false,
            ipv6: true,
        }),
    ]
}

#[test]
fn supervisor_to_process_roundtrip() {
    survives(&[SupervisorToProcess::Launch { size: 1 << 33 }]);
}

#[test]
fn launches_roundtrip_and_any_cut_or_tail_is_an_error() {
    for launch in launches() {
        let bytes = launch.encode();
        assert_eq!(Launch::decode(&bytes).as_ref(), Ok(&launch));
        for cut in 0..bytes.len() {
            assert_eq!(Launch::decode(&bytes[..cut]), Err(DecodeError::Short), "{launch:?} cut at {cut}");
        }
        assert_eq!(Launch::decode(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing), "{launch:?}");
    }
    for tag in [0, 8, 114, 255] {
        assert_eq!(Launch::decode(&[tag, 0, 0]), Err(DecodeError::UnknownTag(tag)));
    }
}

#[test]
fn settings_of_any_length_are_launched_with() {
    let Some(Launch::Broker(broker)) = launches().into_iter().next() else { panic!("the broker's") };
    let long = "/directory ".repeat(100_000);
    let launch = Launch::Broker(BrokerLaunch { trusted_directories: long, ..broker });
    assert_eq!(Launch::decode(&launch.encode()), Ok(launch));
}

#[test]
fn lengths_beyond_the_end_take_no_memory_and_values_out_of_range_are_errors() {
    let changed = |launch: &Launch, at: usize, bytes: &[u8]| {
        let mut packet = launch.encode();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        Launch::decode(&packet)
    };
    let all = launches();
    let (broker, writer) = (&all[0], &all[5]);
    // Behind the tag, parent, ids with their flag, and the flag of verbosity: names_size, listeners, two flags.
    let inside = 1 + 4 + 9 + 1 + 8 + 4 + 2;
    assert_eq!(changed(broker, inside, &u32::MAX.to_le_bytes()), Err(DecodeError::Short));
    let owners = inside + 4 + "/var/spool/postfix".len() + 4 + 8;
    assert_eq!(changed(broker, owners, &u32::MAX.to_le_bytes()), Err(DecodeError::Short));
    let owners_text = owners + 4 + 3 * 4 + 4;
    assert_eq!(changed(broker, owners_text, b"\xff"), Err(DecodeError::Field), "it is no text");
    assert_eq!(changed(writer, 5, &[2]), Err(DecodeError::Field), "neither with nor without ids");
    assert_eq!(changed(&all[2], 1 + 4 + 1 + 1, &[9]), Err(DecodeError::Field), "no such duty");
    assert_eq!(changed(&all[8], 1 + 4 + 9 + 1, &[9]), Err(DecodeError::Field), "no such destination");
}
