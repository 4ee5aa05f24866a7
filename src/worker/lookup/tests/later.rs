//! Random conversations: whatever the delays, each client gets its own answers, in its order.

use super::standin::*;
use super::*;
use mapkeep_query::{Folding, NulMode, NulModes, Outcome, Query, Substitution, TableError, Values};
use mapkeep_table_lookup::{Composite, Leaf, Table};
use std::collections::BTreeMap;

/// xorshift64*: the same seed, the same conversations.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }
}

fn id_of(name: &[u8]) -> TableId {
    let place = TABLES.iter().position(|table| table.as_bytes() == name).unwrap();
    TableId(RULES_ID.0 + u16::try_from(place).unwrap())
}

/// The value, as the tables mean it, if all were here.
fn meant(table: &str, key: &str) -> Option<String> {
    let local = |name: &[u8], key: &[u8], answer: &mut Vec<u8>| match name {
        name if name == RULES.as_bytes() || name == IN_NAME.as_bytes() => {
            let value = value_of(id_of(name), key);
            answer.extend(value.iter().flatten());
            Ok(if value.is_some() { Outcome::Found(NulMode::Bare) } else { Outcome::Absent })
        }
        name => {
            let (kind, rest) = (mapkeep_name::Kind::of(name), mapkeep_name::split(name).1);
            Table::<Vec<u8>>::from_name(kind, rest)?.lookup(key, NulModes::BOTH, answer)
        }
    };
    let mut answer = Vec::new();
    let outcome = match Composite::parse(table.as_bytes()) {
        Err(TableError::WrongKind) => local(table.as_bytes(), key.as_bytes(), &mut answer),
        composite => {
            let composite = composite.unwrap();
            let query = Query {
                key: key.as_bytes(),
                modes: NulModes::BOTH,
                substitution: Substitution::Allowed,
                folding: Folding::NONE,
                utf8: false,
                values: Values::Text,
                random: 0,
                time_left: &|| Duration::MAX,
                pause: None,
            };
            let ask = |leaf: Leaf<'_>, answer: &mut Vec<u8>| {
                local(&composite.leaves()[leaf.number], leaf.key, answer).map(Some)
            };
            composite.go_on(&mut composite.walk(&query), &mut answer, ask).map(Option::unwrap)
        }
    };
    (outcome.unwrap() != Outcome::Absent).then(|| String::from_utf8(answer).unwrap())
}

#[derive(Default)]
struct Talk {
    expected: Vec<String>,
    got: Vec<String>,
}

impl Talk {
    /// Asks something, and notes what the reply has to be.
    fn ask(&mut self, mut client: &UnixStream, numbers: &mut Numbers) {
        let table = [FINE, RULES, IN_NAME, UNION, PIPE, DEEP][numbers.below(6)];
        let key = ["a", "b", "no", "n", "", "key of some length"][numbers.below(6)];
        let new = numbers.below(2) == 0;
        let form = if new { "instance_flags|64|flags|64" } else { "flags|64" };
        let request = format!("request|lookup|table|{table}|{form}|key|{key}||").replace('|', "\0");
        client.write_all(request.as_bytes()).unwrap();
        let (status, value) = meant(table, key).map_or((1, String::new()), |value| (0, value));
        // Each kind has one class of keys, which the reply of the new dialect has.
        let class = if [FINE, UNION].contains(&table) { 16 } else { 32 };
        let flags = if new { format!("flags|{}|", 64 + class) } else { String::new() };
        self.expected.push(format!("status|{status}|{flags}value|{value}||"));
    }
}

#[test]
fn random_delays_change_no_answer() {
    for seed in 1..=30 {
        let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ seed);
        let mut service = Service::timeless();
        let mut standins: Vec<Standin> = (0..=numbers.below(3)).map(|_| service.standin()).collect();
        let clients: Vec<UnixStream> = (0..12).map(|_| service.client()).collect();
        let mut talks: Vec<Talk> = clients.iter().map(|_| Talk::default()).collect();
        let mut open: Vec<(usize, Put)> = Vec::new();
        let mut most: BTreeMap<u64, usize> = BTreeMap::new();
        for round in 0.. {
            for (client, talk) in clients.iter().zip(&mut talks) {
                if round < 40 && numbers.below(3) == 0 {
                    (0..=numbers.below(3)).for_each(|_| talk.ask(client, &mut numbers));
                }
            }
            service.round();
            for (place, standin) in standins.iter_mut().enumerate() {
                open.extend(standin.questions().into_iter().map(|put| (place, put)));
            }
            most.clear();
            open.iter().for_each(|(_, put)| *most.entry(put.client).or_default() += 1);
            assert!(most.values().all(|count| *count == 1), "one question for each client");
            let all = round >= 40;
            while !open.is_empty() && (all || numbers.below(3) > 0) {
                let (place, put) = open.swap_remove(numbers.below(open.len()));
                standins[place].answer_well(&put);
            }
            for (client, talk) in clients.iter().zip(&mut talks) {
                talk.got.extend(texts(client));
            }
            if round > 40 && talks.iter().all(|talk| talk.got.len() == talk.expected.len()) {
                break;
            }
            assert!(round < 10_000, "somebody waits for ever");
        }
        for talk in &talks {
            assert_eq!(talk.got, talk.expected, "seed {seed}");
        }
        assert!(talks.iter().map(|talk| talk.got.len()).sum::<usize>() > 100);
    }
}
