//! The new dialect: requests of clients of Postfix 3.11 and later, and the replies on record that stock 3.12 gave to
//! them (no such version is installed here, so nothing is asked side by side).
//!
//! `T` stands for the table, whose only entry is `alice x`; `U` for one that is not approved.

use crate::common::master::Site;
use crate::common::wire::{Received, bytes};
use crate::common::{PATIENCE, wire::Wire};
use crate::differences;

/// A request, the reply on record, and, where ours differs on purpose, our reply and the words of docs/COMPATIBILITY.md.
struct Record {
    request: &'static str,
    stock: &'static str,
    ours: Option<(&'static str, &'static str)>,
}

const fn same(request: &'static str, stock: &'static str) -> Record {
    Record { request, stock, ours: None }
}

const RECORDS: &[Record] = &[
    same("request|open|table|T|instance_flags|540736||", "status|0|flags|1589340||"),
    same(
        "request|lookup|table|T|instance_flags|540736|flags|1589340|key|ALICE||",
        "status|0|flags|1589336|value|x||",
    ),
    same(
        "request|lookup|table|T|instance_flags|540736|flags|1589340|key|bob||",
        "status|1|flags|1589340|value|||",
    ),
    // After the first hit, the client's flags have one way of storing keys left.
    same(
        "request|lookup|table|T|instance_flags|540736|flags|1589336|key|alice||",
        "status|0|flags|1589336|value|x||",
    ),
    // A client that does the UTF-8 work itself: FOLD_FIX and UTF8_ACTIVE are not among its flags.
    same(
        "request|lookup|table|T|instance_flags|540736|flags|524376|key|alice||",
        "status|0|flags|524376|value|x||",
    ),
    same("request|open|table|U|instance_flags|540736||", "status|4|flags|0||"),
    same(
        "request|lookup|table|U|instance_flags|540736|flags|1589340|key|alice||",
        "status|4|flags|0|value|||",
    ),
    same(
        "request|sequence|table|U|instance_flags|540736|flags|1589340|function|0||",
        "status|4|flags|0|key||value|||",
    ),
    same(
        "request|update|table|T|instance_flags|540736|flags|1589340|key|alice|value|y||",
        "status|4|flags|0||",
    ),
    same("request|delete|table|T|instance_flags|540736|flags|1589340|key|alice||", "status|4|flags|0||"),
    same("request|frobnicate||", "status|3||"),
    same("request|open|table|nocolon|instance_flags|540736||", "status|3|flags|0||"),
    same(
        "request|lookup|table|nocolon|instance_flags|540736|flags|1589340|key|alice||",
        "status|3|flags|0|value|||",
    ),
    same(
        "request|sequence|table|T|instance_flags|540736|flags|1589336|function|0||",
        "status|0|flags|1589336|key|alice|value|x||",
    ),
    same(
        "request|sequence|table|T|instance_flags|540736|flags|1589336|function|1||",
        "status|1|flags|1589336|key||value|||",
    ),
    same(
        "request|sequence|table|T|instance_flags|540736|flags|1589336|function|2||",
        "status|3|flags|0|key||value|||",
    ),
    // Requests of the old dialect, which 3.12 takes for malformed ones.
    Record {
        request: "request|open|table|T|flags|0||",
        stock: "status|3|flags|0||",
        ours: Some(("status|0|flags|28||", BOTH)),
    },
    Record {
        request: "request|lookup|table|T|flags|524353|key|alice||",
        stock: "status|3|flags|0|value|||",
        ours: Some(("status|0|value|x||", BOTH)),
    },
    // No TRY flags at all: 3.12 ends at once, so there is no reply on record.
    Record {
        request: "request|lookup|table|T|instance_flags|540736|flags|1589328|key|alice||",
        stock: "",
        ours: Some((
            "status|0|flags|1589336|value|x||",
            "A lookup without TRY flags tries both ways of storing keys",
        )),
    },
];

const BOTH: &str = "Both dialects are understood, request by request";

/// Asks each, on one connection and on fresh ones.
pub fn compare() {
    let site = Site::new();
    let table = site.table("hash", "new", "alice x\n");
    site.approve(&[&table], "smtputf8_enable = yes\n");
    let master = site.start();
    let mut one = master.wire();
    for record in RECORDS {
        let wanted = match record.ours {
            None => record.stock,
            Some((ours, line)) => {
                assert_ne!(ours, record.stock, "{}", record.request);
                differences::assert_on_page(&[line]);
                ours
            }
        };
        let request =
            bytes(&record.request.replace("|T|", &format!("|{table}|")).replace("|U|", "|hash:/etc/u|"));
        let ask = |wire: &mut Wire| {
            wire.send(&request).expect("the connection is open");
            assert_eq!(wire.receive(PATIENCE), Received::Reply(wanted.to_string()), "{}", record.request);
        };
        ask(&mut one);
        let lone_next = record.request.contains("function|1|");
        if !lone_next {
            ask(&mut master.wire());
        }
    }
    eprintln!("{} replies on record compared", RECORDS.len());
}
