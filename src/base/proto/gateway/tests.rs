use super::*;
use crate::message::tests::survives;

#[test]
fn broker_and_gateway_roundtrip() {
    survives(&[
        BrokerToGateway::Backend { size: 9 },
        BrokerToGateway::Table { id: TableId(3), generation: 70_000, size: 1 },
        BrokerToGateway::Withdrawn { id: TableId(3) },
        BrokerToGateway::Connected { number: 4 },
        BrokerToGateway::NotConnected { number: 4, reason: "Connection refused".into() },
        BrokerToGateway::Asker,
        BrokerToGateway::Finish,
        BrokerToGateway::Ping(1),
    ]);
    survives(&[
        GatewayToBroker::Ready,
        GatewayToBroker::Loaded { id: TableId(2), generation: 3 },
        GatewayToBroker::Rejected { id: TableId(2), generation: 3 },
        GatewayToBroker::Connect { number: u32::MAX, host: 1 },
        GatewayToBroker::Pong(1),
    ]);
}

#[test]
fn dialer_roundtrip() {
    let unix = Host::Unix(b"/run/mysqld/mysqld.sock".to_vec());
    let tcp = Host::Tcp { name: b"db.example".to_vec(), port: b"mysql".to_vec() };
    survives(&[SupervisorToDialer::Broker]);
    survives(&[unix, tcp].map(|host| BrokerToDialer::Connect { number: 1, milliseconds: 5000, host }));
    survives(&[
        DialerToBroker::Connected { number: 8 },
        DialerToBroker::Failed { number: 8, reason: "no such host".into() },
    ]);
}

#[test]
fn longest_host_fits_in_a_message() {
    let host = Host::Tcp { name: vec![b'n'; Host::MAX_NAME], port: vec![b'p'; Host::MAX_NAME] };
    let message = BrokerToDialer::Connect { number: 1, milliseconds: 1, host };
    assert!(message.encode().len() <= MAX_MESSAGE);
}

#[test]
fn long_reasons_are_cut_and_odd_ones_refused() {
    let message = DialerToBroker::Failed { number: 1, reason: "ä".repeat(MAX_REASON) };
    let Ok(DialerToBroker::Failed { reason, .. }) = DialerToBroker::decode(&message.encode()) else {
        panic!()
    };
    assert_eq!(reason, "ä".repeat(MAX_REASON / 2));
    let mut odd = DialerToBroker::Failed { number: 1, reason: "x".into() }.encode();
    *odd.last_mut().unwrap() = 0xff;
    assert_eq!(DialerToBroker::decode(&odd), Err(DecodeError::Field));
}
