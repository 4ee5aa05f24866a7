//! The tables that the wire cases ask, the requests written out, and the replies that recur.
//!
//! May: make tables inside an instance.

use crate::common::postfix::{Instance, Server};

/// Dictionary flags (docs/COMPATIBILITY.md).
pub const FIXED: u32 = 16;
pub const PATTERN: u32 = 32;
pub const MULTI_WRITER: u32 = 262_144;
pub const OPEN_LOCK: u32 = 65_536;
pub const TRY_BITS: u32 = 4 | 8;
/// The flags that an old client takes over from the reply to `open`; it ignores all others.
pub const IMPLEMENTED: u32 = FIXED | PATTERN | MULTI_WRITER;
/// What an old smtpd sends with a lookup in an address table: LOCK, FOLD_FIX, UTF8_REQUEST.
pub const OLD_LOOKUP: u32 = 64 | 16_384 | 524_288;
/// What a new smtpd sends as its instance flags for the same.
pub const NEW_OPEN: u32 = 540_736;
/// What a new smtpd sends as lookup flags after stock has answered its `open`.
pub const NEW_LOOKUP: u32 = 1_589_340;
/// What it sends when the reply left UTF8_ACTIVE out, and it folds keys by itself.
pub const NEW_LOOKUP_FOLDED: u32 = 1_572_944;

/// How many entries the indexed tables have: several pages of every format.
pub const ENTRIES: usize = 300;

/// The tables of the cases; every instance of a comparison approves the same names.
pub struct Tables {
    pub hash: String,
    pub btree: String,
    pub lmdb: String,
    pub cdb: String,
    pub texthash: String,
    pub missing: String,
}

/// The tables without files, named as in main.cf and the requests.
pub const STATIC: &str = "static:{anything goes}";
pub const INLINE: &str = "inline:{alice=x, {bob = two words}}";

impl Tables {
    /// Makes the files inside the tree of one instance.
    pub fn make(home: &Instance) -> Self {
        let mut source = String::from("alice x\nbob two words\nAnna@Example.Org folded\n");
        source += &format!("long {}\n", long_value());
        for i in 0..ENTRIES {
            source += &format!("user{i}@example.org value {i}{}\n", "+".repeat(i % 90));
        }
        Self {
            hash: home.table("hash", "h", &source),
            btree: home.table("btree", "b", &source),
            lmdb: home.table("lmdb", "l", &source),
            cdb: home.table("cdb", "c", &source),
            texthash: home.table("texthash", "t", "alice x\nbob two words\nCapital found by mapkeep\n"),
            missing: home.table_name("hash", "missing"),
        }
    }

    pub fn indexed(&self) -> [&str; 4] {
        [&self.hash, &self.btree, &self.lmdb, &self.cdb]
    }

    pub fn approved(&self) -> String {
        let mut all: Vec<&str> = self.indexed().to_vec();
        all.extend([
            &self.texthash,
            &self.missing,
            STATIC,
            INLINE,
            "unix:passwd.byname",
            "unix:group.byname",
            "fail:why",
        ]);
        all.iter().map(|t| format!("proxy:{t}")).collect::<Vec<_>>().join(", ")
    }
}

/// A value longer than one database page and one I/O buffer.
pub fn long_value() -> String {
    "0123456789".repeat(1200)
}

/// Starts an instance that approves these tables, wherever their files are.
pub fn serving(mut home: Instance, tables: &Tables, settings: &[(&str, &str)]) -> Instance {
    home.set("proxy_read_maps", &tables.approved());
    // Workers are replaced after this number of clients, high enough that it only happens in the test of it.
    home.set("max_use", "1000000");
    for (name, value) in settings {
        home.set(name, value);
    }
    home.start();
    home
}

/// One instance with its own tables.
pub fn service(server: Server) -> (Instance, Tables) {
    service_with(server, &[])
}

/// As `service`, with main.cf parameters.
pub fn service_with(server: Server, settings: &[(&str, &str)]) -> (Instance, Tables) {
    let home = Instance::new(server);
    let tables = Tables::make(&home);
    (serving(home, &tables, settings), tables)
}

pub fn open(table: &str) -> String {
    format!("request|open|table|{table}|flags|0||")
}

pub fn lookup(table: &str, flags: u32, key: &str) -> String {
    format!("request|lookup|table|{table}|flags|{flags}|key|{key}||")
}

pub fn sequence(table: &str, function: u32) -> String {
    format!("request|sequence|table|{table}|flags|64|function|{function}||")
}

pub fn found(value: &str) -> String {
    format!("status|0|value|{value}||")
}

pub const ABSENT: &str = "status|1|value|||";
pub const RETRY: &str = "status|2|value|||";
pub const BAD: &str = "status|3|value|||";
pub const DENIED: &str = "status|4|value|||";
