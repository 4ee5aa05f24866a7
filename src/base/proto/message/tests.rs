use super::*;
use std::fmt::Debug;

pub(crate) fn survives<M: Decode + Debug + PartialEq>(messages: &[M]) {
    for message in messages {
        let packet = message.encode();
        assert_eq!(M::decode(&packet).unwrap(), *message);
        for cut in 0..packet.len() {
            assert_eq!(M::decode(&packet[..cut]), Err(DecodeError::Short), "{message:?} cut at {cut}");
        }
        let mut longer = packet.clone();
        longer.push(0);
        assert_eq!(M::decode(&longer), Err(DecodeError::Trailing), "{message:?}");
    }
    for tag in [0, 50, 77, 255] {
        assert_eq!(M::decode(&[tag]), Err(DecodeError::UnknownTag(tag)));
    }
}

#[test]
fn broker_to_lookup_roundtrip() {
    survives(&[
        BrokerToLookup::Names { size: 77, smtputf8: true, approval_known: false },
        BrokerToLookup::Snapshot { id: TableId(513), generation: 9, kind: Kind::Lmdb, size: u64::MAX },
        BrokerToLookup::Unavailable { id: TableId(1), reason: Unavailable::Refused },
        BrokerToLookup::Client,
        BrokerToLookup::Finish,
        BrokerToLookup::Ping(7),
        BrokerToLookup::Answerer(Group::Rules),
        BrokerToLookup::Answerer(Group::Gateway(GatewayId(258))),
        BrokerToLookup::Asker,
        BrokerToLookup::Routed { id: TableId(3), gateway: GatewayId(1), milliseconds: 10_000 },
    ]);
}

#[test]
fn lookup_to_broker_roundtrip() {
    survives(&[
        LookupToBroker::Ready,
        LookupToBroker::Loaded { id: TableId(2), generation: 3 },
        LookupToBroker::Rejected { id: TableId(2), generation: 3 },
        LookupToBroker::Closed(u32::MAX),
        LookupToBroker::Pong(1),
    ]);
}

#[test]
fn fields_out_of_range_are_errors() {
    assert_eq!(BrokerToLookup::decode(&[3, 0, 0, 99]), Err(DecodeError::Field));
    assert_eq!(BrokerToLookup::decode(&[7, 2, 0, 0]), Err(DecodeError::Field));
    let mut names = BrokerToLookup::Names { size: 1, smtputf8: true, approval_known: true }.encode();
    names[9] = 2;
    assert_eq!(BrokerToLookup::decode(&names), Err(DecodeError::Field));
}
