//! What the processes of the service tell each other, and the block of table names.

use std::fmt::Debug;

use mapkeep_proto::{
    BrokerToDialer, BrokerToGateway, BrokerToLookup, BrokerToSupervisor, BrokerToWriter, Decode,
    DialerToBroker, GatewayToBroker, Launch, LookupToBroker, SupervisorToBroker, SupervisorToLogger,
    SupervisorToProcess, WriterToBroker, decode_names, encode_names,
};

/// One packet, taken for a message of each channel, and for a launch.
pub fn messages(packet: &[u8]) {
    one_way::<BrokerToLookup>(packet);
    one_way::<LookupToBroker>(packet);
    one_way::<SupervisorToBroker>(packet);
    one_way::<BrokerToSupervisor>(packet);
    one_way::<SupervisorToLogger>(packet);
    one_way::<SupervisorToProcess>(packet);
    one_way::<BrokerToWriter>(packet);
    one_way::<WriterToBroker>(packet);
    one_way::<BrokerToGateway>(packet);
    one_way::<GatewayToBroker>(packet);
    one_way::<BrokerToDialer>(packet);
    one_way::<DialerToBroker>(packet);
    let Ok(launch) = Launch::decode(packet) else { return };
    assert_eq!(launch.encode(), packet, "{launch:?} has two spellings");
}

/// Each message has one spelling: what decodes encodes to the same bytes.
fn one_way<M: Decode + Debug + PartialEq>(packet: &[u8]) {
    let Ok(message) = M::decode(packet) else { return };
    // The files of a hash or btree table: store, log and database.
    assert!(message.descriptors() <= 3);
    let again = message.encode();
    assert_eq!(again, packet, "{message:?} has two spellings");
    assert_eq!(M::decode(&again).as_ref(), Ok(&message));
}

/// A block of table names.
pub fn names(block: &[u8]) {
    let Ok(names) = decode_names(block) else { return };
    let again = encode_names(&names).expect("what was decoded can be encoded");
    assert_eq!(again, block);
}
