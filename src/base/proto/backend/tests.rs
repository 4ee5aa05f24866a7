use super::*;

fn survives<M: Encoded + std::fmt::Debug + PartialEq>(values: &[M]) {
    for value in values {
        let bytes = value.encode();
        assert_eq!(M::decode(&bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            assert!(M::decode(&bytes[..cut]).is_err(), "{value:?} cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(M::decode(&longer), Err(DecodeError::Trailing), "{value:?}");
    }
}

fn tcp(name: &[u8], port: &[u8]) -> Host {
    Host::Tcp { name: name.to_vec(), port: port.to_vec() }
}

#[test]
fn backends_and_tables_survive_the_journey() {
    let hosts = vec![Host::Unix(b"/run/map".to_vec()), tcp(b"::1", b"9998")];
    let protocol = Protocol::Socketmap { max_reply: 100_000, max_query: 10_000 };
    survives(&[
        Backend { title: "socketmap unix:/run/map".into(), hosts, connections: 8, protocol },
        Backend { title: "tcp".into(), hosts: vec![], connections: 1, protocol: Protocol::Tcp },
    ]);
    let name = b"socketmap:inet:h:1:users".to_vec();
    survives(&[
        BackendTable {
            name: name.clone(),
            milliseconds: 10_000,
            asks: Asks::Socketmap { map: b"users".to_vec() },
        },
        BackendTable { name, milliseconds: 1, asks: Asks::Tcp },
    ]);
}

#[test]
fn limits_hold_at_both_ends() {
    let many = vec![Host::Unix(b"/s".to_vec()); MAX_HOSTS + 9];
    let backend = Backend { title: String::new(), hosts: many, connections: 1, protocol: Protocol::Tcp };
    assert_eq!(Backend::decode(&backend.encode()).unwrap().hosts.len(), MAX_HOSTS);
    let none = Backend { hosts: vec![], connections: 0, ..backend.clone() };
    assert_eq!(Backend::decode(&none.encode()), Err(DecodeError::Field));
    let long = Backend { hosts: vec![Host::Unix(vec![b'x'; Host::MAX_PATH + 1])], ..backend };
    assert_eq!(Backend::decode(&long.encode()), Err(DecodeError::Field));
}
